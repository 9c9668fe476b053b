//! Letters in flight between clients and server: delivered, dropped, doubled and reordered at will. Knows no meaning of a message.

use protocol::messages::{ClientMessage, ServerMessage, frame, unframe};
use protocol::reject::Rejection;
use protocol::round::Verdict;
use protocol::statement::Statement;

/// Most letters in flight: doubling must end somewhere.
const MAX_LETTERS: usize = 400;

/// Which request of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// May I?
    Begin,
    /// All is sent.
    Commit,
}

/// One message in flight. Messages travel as frames, so that every delivery decodes real bytes.
#[derive(Clone, Debug)]
pub enum Letter {
    /// From a client's control stream.
    Up {
        /// Who.
        from: usize,
        /// A framed [`ClientMessage`].
        frame: Vec<u8>,
    },
    /// A request about an upload; the connection tells who asks.
    Ask {
        /// Who.
        from: usize,
        /// Which request.
        ask: Ask,
        /// Signed header.
        header: Statement,
    },
    /// The server's push.
    Down {
        /// To whom.
        to: usize,
        /// A framed [`ServerMessage`].
        frame: Vec<u8>,
    },
    /// The answer to a request.
    Answer {
        /// To whom.
        to: usize,
        /// Which request.
        ask: Ask,
        /// About what.
        header: Statement,
        /// The answer.
        verdict: Result<Verdict, Rejection>,
    },
}

/// Letters in flight, oldest first.
#[derive(Default)]
pub struct Net {
    letters: Vec<Letter>,
}

impl Net {
    /// Sends a client's message.
    pub fn up(&mut self, from: usize, message: &ClientMessage) {
        self.letters.push(Letter::Up { from, frame: frame(message) });
    }

    /// Sends the server's message.
    pub fn down(&mut self, to: usize, message: &ServerMessage) {
        self.letters.push(Letter::Down { to, frame: frame(message) });
    }

    /// Sends anything.
    pub fn send(&mut self, letter: Letter) {
        self.letters.push(letter);
    }

    /// Takes a letter out, to deliver or to drop it; any number names one.
    pub fn take(&mut self, which: usize) -> Option<Letter> {
        let at = which.checked_rem(self.letters.len())?;
        Some(self.letters.remove(at))
    }

    /// Doubles a letter; the copy comes last.
    pub fn double(&mut self, which: usize) {
        let copy = which.checked_rem(self.letters.len()).map(|at| self.letters[at].clone());
        if self.letters.len() < MAX_LETTERS {
            self.letters.extend(copy);
        }
    }

    /// Letters in flight, oldest first.
    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }
}

/// A client's message from its frame.
///
/// # Panics
/// If a message does not survive its own encoding.
pub fn read_client(bytes: &[u8]) -> ClientMessage {
    unframe(&bytes[4..]).expect("a sent message can be read")
}

/// The server's message from its frame.
///
/// # Panics
/// If a message does not survive its own encoding.
pub fn read_server(bytes: &[u8]) -> ServerMessage {
    unframe(&bytes[4..]).expect("a sent message can be read")
}
