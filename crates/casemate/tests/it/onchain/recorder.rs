//! Records the bytes of a connection in both directions.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A proxy that records its traffic.
pub struct Recorder {
    pub address: SocketAddr,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Forwards connections to this address.
    pub fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (kept, target) = (bytes.clone(), target.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                carry(&client, &server, kept.clone());
                carry(&server, &client, Arc::default());
            }
        });
        Self { address, bytes }
    }

    /// Whether the recorded traffic contains a text.
    pub fn saw(&self, text: &str) -> bool {
        let bytes = self.bytes.lock().expect("the record").to_ascii_lowercase();
        let text = text.to_ascii_lowercase();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    pub fn length(&self) -> usize {
        self.bytes.lock().expect("the record").len()
    }
}

fn carry(from: &TcpStream, to: &TcpStream, kept: Arc<Mutex<Vec<u8>>>) {
    let (mut from, mut to) =
        (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read) = from.read(&mut buffer) {
            if read == 0 {
                break;
            }
            kept.lock().expect("the record").extend_from_slice(&buffer[..read]);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
