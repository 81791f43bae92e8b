//! The queries in flight: asked of an upstream and not answered yet.
//!
//! Who asks what somebody else waits for already joins that flight: one query goes out, and each asker
//! gets the answer under its own ID (RFC 5452 section 5: many outstanding queries for one question
//! would be many chances for a forger).
//!
//! A flight lives in stages, the same for all, so each stage's row is sorted by itself and the next
//! deadline is at the head of one:
//!
//! ```text
//!   several upstreams  0 ... 0.4 ... 1.0 ... 1.8 ... 2.6 ... 3.5 ... 4.4 s
//!   one upstream       0 ........... 0.8 ... 1.8 .................. 4.4 s
//!                      send    and again at each    stale?          SERVFAIL
//! ```
//! A resolver's library waits 5 s (resolv.conf(5)): a client hears from us before it gives up.

use std::net::SocketAddr;

use crate::dns_index::{Index, Row};
use crate::dns_message::Header;
use crate::dns_query::Query;
use crate::dns_upstream::{Sent, State, Ticket};
use crate::sys::Peer;

/// When a stage ends, in microseconds from the flight's start.
const STAGES: [u64; 6] = [400_000, 1_000_000, 1_800_000, 2_600_000, 3_500_000, 4_400_000];
const STAGES_OF_ONE: [u64; 3] = [800_000, 1_800_000, 4_400_000];
/// RFC 8767 section 5: a client gets an old answer when there is no new one by now.
pub const STALE_AFTER: u64 = 1_800_000;
/// More askers do not wait at a time; the oldest flight ends for them. So many distinct questions take
/// about 40 MB.
pub const MAX_WAITING: usize = 32_768;

/// Most flights have one asker, few have more than this.
pub const USUAL_ASKERS: usize = 16;

/// Where a reply goes.
#[derive(Clone, Copy)]
pub enum Way {
    /// A datagram from listener number `.0`.
    Udp(usize, Peer),
    /// Connection `.0`, the `.1`th under this number.
    Tcp(usize, u32, SocketAddr),
}

impl Way {
    pub fn address(&self) -> SocketAddr {
        match self {
            Way::Udp(_, peer) => peer.address(),
            Way::Tcp(_, _, address) => *address,
        }
    }

    pub fn is_tcp(&self) -> bool {
        matches!(self, Way::Tcp(..))
    }
}

/// For whom an answer is.
#[derive(Clone, Copy, PartialEq)]
pub enum Whom {
    All,
    OverUdp,
}

/// One who waits.
pub struct Asker {
    pub way: Way,
    pub query: Query,
    /// The question as this one spelled it; `None`: as the key has it, in lower case.
    pub question: Option<Box<[u8]>>,
    /// Since when, in microseconds.
    pub since: u64,
}

#[derive(Default)]
pub struct Flight {
    serial: u32,
    /// See [`Key`](crate::dns_query::Key).
    pub key: Vec<u8>,
    pub hash: u64,
    pub started: u64,
    stage: usize,
    pub askers: Vec<Asker>,
    pub sent: Vec<Sent>,
    /// Bits: upstreams that have said no, or cannot be reached.
    pub failed: u32,
    /// Bits: upstreams that do not know EDNS.
    pub without_edns: u32,
    /// What the last that said no has said.
    pub refusal: Option<Header>,
    /// There is an old answer in the cache.
    pub has_stale: bool,
    /// An upstream had too much to say for UDP.
    pub over_tcp: bool,
    /// There was no room for another connection: to be tried again when the stage ends.
    pub is_queued: bool,
    /// Found by nobody else, and its answer not kept.
    pub is_private: bool,
    /// The client's own message, where it is signed and must go as it is.
    pub signed: Option<Box<[u8]>>,
}

impl Flight {
    pub fn is_late(&self, now: u64) -> bool {
        now - self.started >= STALE_AFTER
    }

    /// From 1 on, when the first has ended.
    pub fn stage(&self) -> usize {
        self.stage
    }

    /// What is on its way as `place`: upstream, door, ID (of a query by TCP the number of the dial).
    pub fn sent_as(&mut self, place: (usize, usize, u16)) -> Option<&mut Sent> {
        let is_it = |sent: &&mut Sent| sent.state != State::Over && (sent.upstream, sent.door, sent.id) == place;
        self.sent.iter_mut().find(is_it)
    }

    /// How many queries have gone to an upstream.
    pub fn sent_to(&self, upstream: usize) -> usize {
        self.sent.iter().filter(|sent| sent.upstream == upstream).count()
    }
}

pub struct Flights {
    slots: Vec<Flight>,
    free: Vec<u32>,
    index: Index,
    stages: &'static [u64],
    rows: Vec<Row>,
    /// In all flights together.
    pub waiting: usize,
}

impl Flights {
    pub fn new(upstreams: usize) -> Flights {
        let stages: &[u64] = if upstreams == 1 { &STAGES_OF_ONE } else { &STAGES };
        Flights {
            slots: Vec::new(),
            free: Vec::new(),
            index: Index::new(MAX_WAITING),
            stages,
            rows: stages.iter().map(|_| Row::new()).collect(),
            waiting: 0,
        }
    }

    /// The flight for a key.
    pub fn find(&self, key: &[u8], hash: u64) -> Option<Ticket> {
        let number = self.index.find(hash, |number| {
            let flight = &self.slots[number as usize];
            flight.hash == hash && *flight.key == *key
        })?;
        Some(self.ticket(number))
    }

    fn ticket(&self, number: u32) -> Ticket {
        Ticket { number, serial: self.slots[number as usize].serial }
    }

    /// Begins a flight.
    pub fn begin(&mut self, key: &[u8], hash: u64, is_private: bool, now: u64) -> Ticket {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Flight::default());
            self.slots.len() as u32 - 1
        });
        let flight = &mut self.slots[number as usize];
        flight.key.extend(key);
        flight.hash = hash;
        flight.started = now;
        flight.is_private = is_private;
        if !is_private {
            self.index.insert(hash, number);
        }
        self.rows[0].push(number);
        self.ticket(number)
    }

    pub fn join(&mut self, ticket: Ticket, asker: Asker) {
        if let Some(flight) = self.get(ticket) {
            flight.askers.push(asker);
            self.waiting += 1;
        }
    }

    pub fn get(&mut self, ticket: Ticket) -> Option<&mut Flight> {
        self.slots.get_mut(ticket.number as usize).filter(|flight| flight.serial == ticket.serial)
    }

    /// Moves those who wait for a flight, or only those who came by UDP, to `taken`.
    pub fn take_askers(&mut self, ticket: Ticket, whom: Whom, taken: &mut Vec<Asker>) {
        let Some(flight) = self.get(ticket) else { return };
        if whom == Whom::OverUdp {
            let (udp, tcp): (Vec<_>, Vec<_>) = flight.askers.drain(..).partition(|asker| !asker.way.is_tcp());
            taken.extend(udp);
            flight.askers.extend(tcp);
        } else {
            taken.append(&mut flight.askers);
        }
        self.waiting -= taken.len();
    }

    /// Ends a flight, and hands over what was sent for it. Its slot keeps its memory for the next one.
    pub fn end(&mut self, ticket: Ticket, each: impl FnMut(Sent)) {
        if self.get(ticket).is_none() {
            return;
        }
        let flight = &mut self.slots[ticket.number as usize];
        self.waiting -= flight.askers.len();
        if !flight.is_private {
            self.index.remove(flight.hash, ticket.number);
        }
        self.rows[flight.stage].remove(ticket.number);
        flight.sent.drain(..).for_each(each);
        let (mut key, mut askers, sent) =
            (std::mem::take(&mut flight.key), std::mem::take(&mut flight.askers), std::mem::take(&mut flight.sent));
        key.clear();
        askers.clear();
        askers.shrink_to(USUAL_ASKERS); // a crowd's memory goes with the crowd
        *flight = Flight { serial: flight.serial.wrapping_add(1), key, askers, sent, ..Flight::default() };
        self.free.push(ticket.number);
    }

    /// The flight that has waited longest.
    pub fn oldest(&self) -> Option<Ticket> {
        self.rows.iter().rev().find_map(|row| row.oldest()).map(|number| self.ticket(number))
    }

    pub fn deadline(&self) -> Option<u64> {
        let ends = self.stages.iter().zip(&self.rows);
        ends.filter_map(|(end, row)| Some(self.slots[row.oldest()? as usize].started + end)).min()
    }

    /// A flight whose stage is over, moved to its next one; true: that was the last.
    pub fn next_due(&mut self, now: u64) -> Option<(Ticket, bool)> {
        for stage in 0..self.rows.len() {
            let Some(number) = self.rows[stage].oldest() else { continue };
            if now < self.slots[number as usize].started + self.stages[stage] {
                continue;
            }
            let is_last = stage + 1 == self.rows.len();
            if !is_last {
                self.rows[stage].remove(number);
                self.rows[stage + 1].push(number);
                self.slots[number as usize].stage = stage + 1;
            }
            return Some((self.ticket(number), is_last));
        }
        None
    }
}
