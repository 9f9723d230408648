//! What the DNS says of a name. Used to tell users why their domain does not lead anywhere; nothing is
//! decided by it.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    config::ResolveHosts,
    proto::rr::{RData, RecordType},
};
use tokio::{sync::Semaphore, time::timeout};

/// One server may take this long, and one lookup in all twice as long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lookups at the same time; further ones wait within their time.
const AT_ONCE: usize = 32;

/// Kinds of records that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The name that this one stands for.
    Cname,
    /// Texts.
    Txt,
    /// Who may issue certificates.
    Caa,
}

/// A lookup that brought no answer. Not the same as: there is no such record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lookup failed: {0}")]
pub struct LookupError(pub String);

/// A way to ask the DNS. Implementations bound every lookup in time.
#[async_trait]
pub trait Dns: Send + Sync + fmt::Debug {
    /// The records of a name as text, none if it has none: names in lower case without the last dot,
    /// texts whole, CAA as `0 issue "letsencrypt.org"`.
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Vec<String>, LookupError>;
}

/// The DNS as this host is configured to ask it (`/etc/resolv.conf`). Answers are not kept: who has
/// just mended a record asks again.
pub struct SystemDns {
    resolver: Result<TokioResolver, LookupError>,
    permits: Semaphore,
}

impl SystemDns {
    /// Reads the host's configuration. Where it cannot be read, every lookup says so.
    pub fn new() -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = PATIENCE;
            options.attempts = 1;
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Never;
            builder.build()
        });
        Self {
            resolver: resolver.map_err(|error| LookupError(error.to_string())),
            permits: Semaphore::new(AT_ONCE),
        }
    }
}

impl Default for SystemDns {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SystemDns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemDns")
            .field("configured", &self.resolver.is_ok())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Dns for SystemDns {
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Vec<String>, LookupError> {
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        let record_type = match kind {
            Kind::Cname => RecordType::CNAME,
            Kind::Txt => RecordType::TXT,
            Kind::Caa => RecordType::CAA,
        };
        // With the dot it is a whole name: no search domain of the host is put behind it.
        let absolute = format!("{name}.");
        let asked = async {
            let _permit = self.permits.acquire().await;
            resolver.lookup(absolute, record_type).await
        };
        match timeout(PATIENCE * 2, asked).await {
            Ok(Ok(found)) => {
                let records = found.answers().iter();
                Ok(records.filter_map(|record| text(&record.data, kind)).collect())
            }
            Ok(Err(error)) if error.is_no_records_found() => Ok(Vec::new()),
            Ok(Err(error)) => Err(LookupError(error.to_string())),
            Err(_) => Err(LookupError("no answer in time".to_owned())),
        }
    }
}

fn text(data: &RData, kind: Kind) -> Option<String> {
    match (data, kind) {
        (RData::CNAME(name), Kind::Cname) => {
            Some(name.0.to_ascii().trim_end_matches('.').to_ascii_lowercase())
        }
        (RData::TXT(parts), Kind::Txt) => {
            Some(String::from_utf8_lossy(&parts.txt_data.concat()).into_owned())
        }
        (RData::CAA(caa), Kind::Caa) => Some(caa.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::{
        config::{ConnectionConfig, NameServerConfig, ResolverConfig},
        net::runtime::TokioRuntimeProvider,
    };
    use tokio::net::UdpSocket;

    use super::*;

    /// What a name server says to a query: a record of each kind, nothing of names in `none`.
    fn answer(query: &[u8]) -> Vec<u8> {
        let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let question = &query[12..name_end + 4];
        let data: &[u8] = match question[question.len() - 3] {
            5 => b"\x07Gateway\x04TEST\x00",
            16 => b"\x03abc\x04:443",
            _ => b"\x00\x05issueca.test",
        };
        let found = u8::from(!question.starts_with(b"\x04none"));
        let mut reply = query[..2].to_vec();
        reply.extend([0x81, if found == 1 { 0x80 } else { 0x83 }, 0, 1, 0, found, 0, 0, 0, 0]);
        reply.extend(question);
        if found == 1 {
            reply.extend([0xc0, 12]);
            reply.extend(&question[question.len() - 4..]);
            reply.extend([0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()]);
            reply.extend(data);
        }
        reply
    }

    fn asking(port: u16) -> SystemDns {
        let mut connection = ConnectionConfig::udp();
        connection.port = port;
        let server = NameServerConfig::new([127, 0, 0, 1].into(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        builder.options_mut().timeout = Duration::from_millis(200);
        builder.options_mut().attempts = 0;
        let resolver = builder.build().map_err(|error| LookupError(error.to_string()));
        SystemDns { resolver, permits: Semaphore::new(1) }
    }

    #[tokio::test]
    async fn records_come_as_text_and_missing_ones_are_no_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = asking(socket.local_addr().unwrap().port());
        let server = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                socket.send_to(&answer(&buffer[..length]), from).await.unwrap();
            }
        });
        for (kind, text) in [
            (Kind::Cname, "gateway.test"),
            (Kind::Txt, "abc:443"),
            (Kind::Caa, "0 issue \"ca.test\""),
        ] {
            assert_eq!(dns.lookup("app.test", kind).await.unwrap(), [text]);
            assert_eq!(dns.lookup("none.test", kind).await, Ok(Vec::new()));
        }
        server.abort();
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_an_error() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = asking(silent.local_addr().unwrap().port());
        assert!(dns.lookup("app.test", Kind::Txt).await.is_err());
    }
}
