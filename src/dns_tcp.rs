//! DNS over TCP: RFC 1035 section 4.2.2, RFC 7766.
//!
//! Each message comes behind its length in two octets. A [`Stream`] puts them together however they
//! arrive, octet by octet or many at once, and never waits for the other side. [`Clients`] are the
//! connections that clients have opened: a table, and deadlines, so that one who says nothing, or half
//! of something, costs a file descriptor for a while and no time at all.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::dns_message::HEADER_LENGTH;
use crate::sys::{self, Fd};

/// Microseconds without a query after which a connection is closed (RFC 7766 section 6.2.3: "a few seconds").
const IDLE: u64 = 10_000_000;
/// Microseconds for one message, from the first octet that there is of it to its last.
const MESSAGE: u64 = 5_000_000;
/// More connections there are not; the one that has been idle longest makes room.
const MAX_CLIENTS: usize = 256;
/// A client that lets so many octets of answers lie, or has so many queries in flight, is not listened
/// to until that is less.
const MAX_BACKLOG: usize = 16 * 1024;
const MAX_IN_FLIGHT: usize = 100;
/// One for which more than that comes together, because it takes none of its answers, is closed.
const MAX_OUTPUT: usize = 128 * 1024;

/// One connection, either side's.
pub struct Stream {
    pub socket: Fd,
    /// Received; what is before `start` has been taken out.
    input: Vec<u8>,
    start: usize,
    output: Vec<u8>,
    /// How much of `output` is sent.
    sent: usize,
}

impl Stream {
    pub fn new(socket: Fd) -> Stream {
        Stream { socket, input: Vec::new(), start: 0, output: Vec::new(), sent: 0 }
    }

    /// Reads what is there, 16 KiB at most; false when the other side has ended.
    pub fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        sys::why("if possible: what came by TCP");
        match sys::read(self.socket.raw(), &mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.drain(..self.start);
                self.start = 0;
                self.input.extend(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What has come and is not taken out.
    fn pending(&self) -> &[u8] {
        &self.input[self.start..]
    }

    /// The next message's length, where all of it is there. A length that no message has is an error.
    fn whole(&self) -> io::Result<Option<usize>> {
        let [high, low, rest @ ..] = self.pending() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length < HEADER_LENGTH {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(Some(length).filter(|length| rest.len() >= *length))
    }

    /// Takes out the next message.
    pub fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(length) = self.whole()? else { return Ok(None) };
        let message = self.pending()[2..2 + length].to_vec();
        self.start += 2 + length;
        if self.pending().is_empty() {
            (self.input, self.start) = (Vec::new(), 0); // idle connections hold no memory
        }
        Ok(Some(message))
    }

    /// Puts a message behind what is to be sent.
    pub fn queue(&mut self, message: &[u8]) {
        self.output.extend((message.len() as u16).to_be_bytes());
        self.output.extend(message);
    }

    /// Sends as much as the kernel takes now.
    pub fn drain(&mut self) -> io::Result<()> {
        while self.backlog() > 0 {
            sys::why("if possible: what is to go by TCP, after its length (RFC 1035 4.2.2)");
            match sys::send(&self.socket, &self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        (self.output, self.sent) = (Vec::new(), 0);
        Ok(())
    }

    pub fn backlog(&self) -> usize {
        self.output.len() - self.sent
    }
}

/// A connection that a client has opened.
pub struct Client {
    stream: Stream,
    pub address: SocketAddr,
    /// How many of its queries are in flight.
    waiting: usize,
    /// It will send no more: it goes when all is answered.
    has_ended: bool,
    /// When the message that is incomplete began.
    message_since: Option<u64>,
    /// When it is closed if nothing happens.
    deadline: u64,
    /// What epoll watches for.
    events: i32,
}

impl Client {
    /// Sets the deadline after something has happened.
    fn set_deadline(&mut self, now: u64) {
        let is_incomplete = !self.stream.pending().is_empty() && matches!(self.stream.whole(), Ok(None));
        self.message_since = is_incomplete.then(|| self.message_since.unwrap_or(now));
        self.deadline = match self.message_since {
            Some(since) => since + MESSAGE,
            None if self.waiting > 0 && self.stream.backlog() == 0 => u64::MAX,
            None => now + IDLE,
        };
    }

    /// Whether its next query may be looked at.
    fn may_ask(&self) -> bool {
        self.stream.backlog() < MAX_BACKLOG && self.waiting < MAX_IN_FLIGHT
    }
}

/// The connections of clients, by number. A number is used again; the count of its uses tells the
/// connections apart that had it.
pub struct Clients {
    slots: Vec<(u32, Option<Client>)>,
    first_token: u64,
    /// No deadline is before this.
    next_deadline: u64,
    /// Those that have sent more queries than they might have in flight, and now may again.
    unblocked: Vec<usize>,
}

impl Clients {
    pub fn new(first_token: u64) -> Clients {
        Clients { slots: Vec::new(), first_token, next_deadline: u64::MAX, unblocked: Vec::new() }
    }

    /// Takes a new connection into the table.
    pub fn adopt(&mut self, (socket, address): (Fd, SocketAddr), epoll: &Fd, now: u64) -> io::Result<()> {
        let free = self.slots.iter().position(|(_, client)| client.is_none());
        let number = match free {
            Some(number) => number,
            None if self.slots.len() < MAX_CLIENTS => {
                self.slots.push((0, None));
                self.slots.len() - 1
            }
            None => self.close_idlest().ok_or(ErrorKind::QuotaExceeded)?,
        };
        let token = self.first_token + number as u64;
        sys::why("if possible: tell when the client asks");
        sys::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, &socket, libc::EPOLLIN, token)?;
        let mut client = Client {
            stream: Stream::new(socket),
            address,
            waiting: 0,
            has_ended: false,
            message_since: None,
            deadline: 0,
            events: libc::EPOLLIN,
        };
        client.set_deadline(now);
        self.next_deadline = self.next_deadline.min(client.deadline);
        self.slots[number] = (self.slots[number].0.wrapping_add(1), Some(client));
        Ok(())
    }

    /// Makes room: closes the connection whose time runs out first. Returns its number; `None`: there is none.
    pub fn close_idlest(&mut self) -> Option<usize> {
        let open = self.slots.iter().enumerate().filter_map(|(number, (_, slot))| Some((number, slot.as_ref()?)));
        let (number, _) = open.min_by_key(|(_, client)| client.deadline)?;
        self.slots[number].1 = None;
        Some(number)
    }

    /// Reads from a connection.
    pub fn fill(&mut self, number: usize) {
        let slot = &mut self.slots[number].1;
        let Some(client) = slot else { return };
        match client.stream.fill() {
            Ok(is_open) => client.has_ended |= !is_open,
            Err(_) => *slot = None,
        }
    }

    /// Takes the next query from a connection, if it may ask it now: its number of uses, who it is, the message.
    pub fn next_query(&mut self, number: usize) -> Option<(u32, SocketAddr, Vec<u8>)> {
        let (uses, slot) = &mut self.slots[number];
        let client = slot.as_mut().filter(|client| client.may_ask())?;
        let Ok(message) = client.stream.message() else {
            *slot = None;
            return None;
        };
        if message.is_some() {
            client.waiting += 1;
            client.message_since = None;
        }
        message.map(|message| (*uses, client.address, message))
    }

    /// A connection that was held up and has another query ready.
    pub fn next_unblocked(&mut self) -> Option<usize> {
        self.unblocked.pop()
    }

    /// Whether a connection is still there to be answered.
    pub fn is_open(&self, number: usize, uses: u32) -> bool {
        let (of, slot) = &self.slots[number];
        slot.is_some() && *of == uses
    }

    /// The reply to one of an open connection's queries; `None`: that query gets none.
    pub fn reply(&mut self, number: usize, reply: Option<&[u8]>) {
        let slot = &mut self.slots[number].1;
        let Some(client) = slot else { return };
        client.waiting -= 1;
        if let Some(reply) = reply {
            client.stream.queue(reply);
            // The kernel may take it at once; more than that is kept for nobody.
            let is_over = |client: &Client| client.stream.backlog() > MAX_OUTPUT;
            if is_over(client) && (client.stream.drain().is_err() || is_over(client)) {
                *slot = None;
            }
        }
    }

    /// After something has happened to a connection: sends what there is to send, and closes it or
    /// says what to wait for next.
    pub fn settle(&mut self, number: usize, epoll: &Fd, now: u64) {
        let slot = &mut self.slots[number].1;
        let Some(client) = slot else { return };
        let drained = client.stream.drain();
        let (backlog, has_query) = (client.stream.backlog(), !matches!(client.stream.whole(), Ok(None)));
        let is_done = client.has_ended && !has_query && client.waiting == 0 && backlog == 0;
        if drained.is_err() || is_done {
            *slot = None;
            return;
        }
        client.set_deadline(now);
        self.next_deadline = self.next_deadline.min(client.deadline);
        if has_query && client.may_ask() {
            self.unblocked.push(number);
        }
        let listens = !client.has_ended && !has_query && client.may_ask();
        let events = if listens { libc::EPOLLIN } else { 0 } | if backlog > 0 { libc::EPOLLOUT } else { 0 };
        if events != client.events {
            client.events = events;
            let token = self.first_token + number as u64;
            sys::why("if possible: what this client is waited for now");
            if sys::epoll_ctl(epoll, libc::EPOLL_CTL_MOD, &client.stream.socket, events, token).is_err() {
                *slot = None;
            }
        }
    }

    /// The number of a token.
    pub fn number(&self, token: u64) -> usize {
        (token - self.first_token) as usize
    }

    /// The other side is gone (EPOLLHUP, EPOLLERR).
    pub fn close(&mut self, number: usize) {
        self.slots[number].1 = None;
    }

    /// No connection's time is over before this.
    pub fn deadline(&self) -> Option<u64> {
        Some(self.next_deadline).filter(|deadline| *deadline != u64::MAX)
    }

    /// Closes those whose time is over.
    pub fn expire(&mut self, now: u64) {
        if now >= self.next_deadline {
            self.next_deadline = u64::MAX;
            for (_, slot) in &mut self.slots {
                match slot {
                    Some(client) if client.deadline <= now => *slot = None,
                    Some(client) => self.next_deadline = self.next_deadline.min(client.deadline),
                    None => {}
                }
            }
        }
    }
}
