//! Reading `text/event-stream`, bytes to events. Only what the API sends: `event` and `data`; other
//! fields and comments are passed over.

use std::collections::VecDeque;

/// An event larger than this is not one of ours.
const MAX_EVENT: usize = 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its name, `message` if none is given.
    pub name: String,
    /// Its data; several lines are joined by line feeds.
    pub data: String,
}

/// The stream holds an event larger than any should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Oversized;

/// A reader that takes bytes as they come.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    begun: bool,
    name: String,
    data: Option<String>,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Oversized> {
        for byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    self.end_line();
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(*byte);
                }
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MAX_EVENT {
                return Err(Oversized);
            }
        }
        Ok(())
    }

    /// The next event that is complete.
    pub fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = if self.begun { &*text } else { text.strip_prefix('\u{feff}').unwrap_or(&text) };
        self.begun = true;
        if text.is_empty() {
            return self.dispatch();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("event", _) => value.clone_into(&mut self.name),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", data) => *data = Some(value.to_owned()),
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            let name = if name.is_empty() { "message".to_owned() } else { name };
            self.ready.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        for piece in pieces {
            parser.push(piece).unwrap();
        }
        std::iter::from_fn(|| parser.next()).map(|event| (event.name, event.data)).collect()
    }

    #[test]
    fn events_come_out_however_they_are_cut() {
        let text = "\u{feff}: hello\nevent: state\ndata: {\"a\":\"é\"}\n\nid: 7\nevent:x\r\ndata:1\r\ndata\r\ndata: 3\r\n\r\ndata: last\n";
        let expected = [("state", "{\"a\":\"é\"}"), ("x", "1\n\n3")];
        let expected = expected.map(|(name, data)| (name.to_owned(), data.to_owned()));
        assert_eq!(all(&[text.as_bytes()]), expected, "an unfinished event is none");
        for at in 0..text.len() {
            assert_eq!(all(&[&text.as_bytes()[..at], &text.as_bytes()[at..]]), expected, "{at}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(all(&single), expected);
    }

    #[test]
    fn a_lone_carriage_return_ends_a_line_and_no_data_is_no_event() {
        let expected = [("message".to_owned(), "a".to_owned())];
        assert_eq!(all(&[b"data: a\r\revent: empty\r\r"]), expected);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(&vec![b'x'; MAX_EVENT + 1]), Err(Oversized));
    }
}
