//! A query's way to the upstreams and back: whom to ask, what to make of what they say, when to ask
//! again, when to give up.
//!
//! ```text
//!                 begin --> send --> answer  --> keep it, all who wait get it        (end)
//!                            ^  |--> SERVFAIL, REFUSED, ... --> next upstream, or that (end)
//!                            |  |--> TC      --> UDP askers get it; for TCP ones by TCP
//!                            |  |--> nobody listens there   --> next upstream, or SERVFAIL (end)
//!                            `--|--> silence to the end of a stage: next upstream
//!                               `--> silence to the end of the last: SERVFAIL        (end)
//! ```
//! Wherever an old answer is in the cache, it is given in place of SERVFAIL.

use std::io;

use crate::dns::Server;
use crate::dns_answer::Reply;
use crate::dns_cache::{change_ttls, STALE_TTL};
use crate::dns_dial::{Outcome, TCP_DOOR};
use crate::dns_flight::{Asker, Whom, MAX_WAITING, USUAL_ASKERS};
use crate::dns_message::{class, rcode, Header, HEADER_LENGTH};
use crate::dns_query::{split_key, write_upstream_query};
use crate::dns_reply::Source;
use crate::dns_upstream::{Rank, Sent, State, Ticket, Upstream, MAX_QUERY};
use crate::sys::{self, Datagrams};

/// One query goes to one upstream so many times at most.
const MAX_SENDS: usize = 3;
/// Microseconds without an answer that are held against an upstream; and where there is no time to wait.
const SILENCE: u64 = 300_000;
const SHORT_SILENCE: u64 = 100_000;
/// The name to be asked for is too long once a DNAME is applied, RFC 6672: an answer.
const YXDOMAIN: u16 = 6;

impl Server {
    /// Somebody wants to know what is not in the cache; `has_stale`: but an old answer is.
    pub fn forward(&mut self, key: &[u8], hash: u64, has_stale: bool, asker: Asker) {
        self.make_room();
        if let Some(ticket) = self.flights.find(key, hash) {
            self.counters.coalesced += 1;
            let is_late = self.flights.get(ticket).is_some_and(|flight| flight.has_stale && flight.is_late(self.now));
            self.flights.join(ticket, asker);
            if is_late {
                self.give_stale(ticket);
            }
            return;
        }
        let ticket = self.begin(key, hash, false, asker);
        if let Some(flight) = self.flights.get(ticket) {
            flight.has_stale = has_stale;
        }
        self.send_first(ticket);
    }

    /// The same for a query whose answer is for this asker alone. `signed`: the message, where it must go as it is.
    pub fn forward_privately(&mut self, key: &[u8], hash: u64, signed: Option<&[u8]>, asker: Asker) {
        self.make_room();
        let is_tcp = asker.way.is_tcp();
        let ticket = self.begin(key, hash, true, asker);
        if let Some(flight) = self.flights.get(ticket) {
            flight.signed = signed.map(Into::into);
            flight.over_tcp = signed.is_some() && is_tcp;
        }
        self.send_first(ticket);
    }

    /// Gives up the oldest flights where too many wait.
    fn make_room(&mut self) {
        while self.flights.waiting >= MAX_WAITING {
            match self.flights.oldest() {
                Some(oldest) => {
                    // A flood must not keep a dead upstream from being found out.
                    self.count_silence(oldest, SHORT_SILENCE);
                    self.give_up(oldest);
                }
                None => break,
            }
        }
    }

    fn begin(&mut self, key: &[u8], hash: u64, is_private: bool, asker: Asker) -> Ticket {
        self.counters.misses += 1;
        let ticket = self.flights.begin(key, hash, is_private, self.now);
        self.flights.join(ticket, asker);
        ticket
    }

    /// To the first of the best upstreams, and a copy to each bad one whose second is over. All dead: to all.
    fn send_first(&mut self, ticket: Ticket) {
        let now = self.now;
        let best = self.upstreams.list.iter().map(Upstream::rank).enumerate().min_by_key(|(_, rank)| *rank);
        for number in 0..self.upstreams.list.len() {
            let is_first = best.is_none_or(|(first, rank)| first == number || rank == Rank::Dead);
            if is_first || self.upstreams.list[number].wants_probe(now) {
                self.send_to(number, ticket);
            }
        }
        self.end_if_hopeless(ticket);
    }

    /// Sends a flight's query to an upstream.
    fn send_to(&mut self, upstream: usize, ticket: Ticket) {
        let Some(flight) = self.flights.get(ticket) else { return };
        let with_edns = flight.without_edns & 1 << upstream == 0;
        let too_long = flight.signed.as_ref().is_some_and(|message| message.len() > MAX_QUERY);
        if flight.over_tcp || too_long {
            return self.dial(upstream, ticket);
        }
        let at = (upstream, ticket, self.now);
        let sent = match &flight.signed {
            Some(message) => {
                let id = Header::read(message).map(|header| header.id());
                self.upstreams.send(at, id, &self.epoll, |out, _| {
                    out[..message.len()].copy_from_slice(message);
                    message.len()
                })
            }
            None => self
                .upstreams
                .send(at, None, &self.epoll, |out, id| write_upstream_query(out, &flight.key, id, with_edns)),
        };
        match sent {
            Ok(sent) => flight.sent.push(sent),
            // Our own fault, not the upstream's.
            Err(error) if is_want_of_room(&error) => flight.is_queued = true,
            Err(_) => {
                flight.failed |= 1 << upstream;
                self.upstreams.list[upstream].count_failure();
            }
        }
    }

    /// The same by TCP.
    fn dial(&mut self, upstream: usize, ticket: Ticket) {
        let Some(flight) = self.flights.get(ticket) else { return };
        let query = match (&flight.signed, self.upstreams.random()) {
            (Some(message), _) => message.to_vec(),
            (None, Ok(id)) => {
                let mut query = vec![0; MAX_QUERY];
                let with_edns = flight.without_edns & 1 << upstream == 0;
                let length = write_upstream_query(&mut query, &flight.key, id, with_edns);
                query.truncate(length);
                query
            }
            (None, Err(_)) => {
                flight.failed |= 1 << upstream;
                return;
            }
        };
        let address = self.upstreams.list[upstream].address;
        match self.dials.open((upstream, address), ticket, &query, &self.epoll) {
            Ok(id) => {
                self.upstreams.list[upstream].count_sent(self.now);
                flight.sent.push(Sent { upstream, door: TCP_DOOR, id, at: self.now, state: State::Waiting });
            }
            Err(error) if is_want_of_room(&error) => flight.is_queued = true,
            Err(_) => flight.failed |= 1 << upstream,
        }
    }

    /// Whom to ask next: from the one behind the last that was asked on, the best first. `unasked`:
    /// only one that this flight has not asked yet.
    fn next_upstream(&mut self, ticket: Ticket, unasked: bool) -> Option<usize> {
        let flight = self.flights.get(ticket)?;
        let count = self.upstreams.list.len();
        let last = flight.sent.last().map_or(0, |sent| sent.upstream);
        let most = if unasked { 1 } else { MAX_SENDS };
        let may = |number: &usize| flight.failed & 1 << number == 0 && flight.sent_to(*number) < most;
        let others = (1..=count).map(|step| (last + step) % count).filter(may);
        others.min_by_key(|number| self.upstreams.list[*number].rank())
    }

    /// Nobody has answered, and nobody will: then it is over before its time.
    fn end_if_hopeless(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.get(ticket) else { return };
        if !flight.is_queued && flight.sent.iter().all(|sent| sent.state == State::Over) {
            match self.next_upstream(ticket, true) {
                Some(next) => {
                    self.counters.retries += 1;
                    self.send_to(next, ticket);
                    self.end_if_hopeless(ticket);
                }
                None => self.give_up(ticket),
            }
        }
    }

    // ---- what comes back ----

    /// Replies have come to a door.
    pub fn receive_replies(&mut self, upstream: usize, door: usize, inbox: &mut Datagrams) {
        let Some(socket) = self.upstreams.socket(upstream, door) else { return };
        sys::why("if possible: what an upstream says");
        match inbox.receive(socket) {
            Ok(count) => {
                for number in 0..count {
                    let (message, _, is_cut) = inbox.get(number);
                    if is_cut {
                        // Longer than we have asked for, and than there is room: as good as truncated.
                        let mut message = message.to_vec();
                        let mut header = Header::read(&message).unwrap_or_default();
                        header.set_tc(true);
                        header.write(&mut message);
                        self.take_datagram(upstream, door, &message);
                    } else {
                        self.take_datagram(upstream, door, message);
                    }
                }
            }
            Err(_) => self.unreachable(upstream, door),
        }
    }

    fn take_datagram(&mut self, upstream: usize, door: usize, message: &[u8]) {
        let Some(id) = Header::read(message).map(|header| header.id()) else { return };
        if let Some(ticket) = self.upstreams.waiting(upstream, door, id) {
            if self.take_reply(ticket, (upstream, door, id), id, message) {
                return;
            }
        }
        // Not what anybody waits for: it is not looked at any further, and the wait goes on.
        if !self.upstreams.list[upstream].count_late_answer(door, id, self.now) {
            self.counters.dropped += 1;
        }
    }

    /// A message that may be the reply to what was sent as `place` (upstream, door, ID or dial). False
    /// where it is not.
    fn take_reply(&mut self, ticket: Ticket, place: (usize, usize, u16), id: u16, message: &[u8]) -> bool {
        let Some(flight) = self.flights.get(ticket) else { return false };
        let Some(reply) = Reply::read(message, id, split_key(&flight.key).0) else { return false };
        let upstream = place.0;
        if let Some(sent) = flight.sent_as(place) {
            sent.state = State::Over;
            self.upstreams.forget(sent, ticket);
            self.upstreams.list[upstream].count_answer(self.now - sent.at);
        }
        let address = self.upstreams.list[upstream].address;
        self.replies.log.message(format_args!("from {address}"), message);
        match reply.rcode() {
            _ if flight.signed.is_some() => self.pass_on(ticket, upstream, message),
            _ if reply.header.tc() && place.1 == TCP_DOOR => {
                // There is no other way to ask.
                flight.failed |= 1 << upstream;
                self.ask_another(ticket);
            }
            rcode::NOERROR | rcode::NXDOMAIN | YXDOMAIN if reply.header.tc() => {
                let mut answer = std::mem::take(&mut self.scratch);
                reply.take_answer(message, &mut answer);
                self.take_truncated(ticket, upstream, &answer);
                self.scratch = answer;
            }
            rcode::NOERROR | rcode::NXDOMAIN | YXDOMAIN => {
                let mut answer = std::mem::take(&mut self.scratch);
                reply.take_answer(message, &mut answer);
                self.take_answer(ticket, upstream, &answer, !reply.for_subnet);
                self.scratch = answer;
            }
            // RFC 6891 section 6.2.2: a server from before EDNS.
            rcode::FORMERR if reply.edns.is_none() && flight.without_edns & 1 << upstream == 0 => {
                flight.without_edns |= 1 << upstream;
                self.send_to(upstream, ticket);
            }
            rcode => {
                let mut refusal = reply.header;
                refusal.set_rcode(if rcode > 15 { rcode::SERVFAIL } else { rcode });
                flight.refusal = Some(refusal);
                flight.failed |= 1 << upstream;
                self.ask_another(ticket);
            }
        }
        true
    }

    /// An upstream has said no. If another has not been asked, it is, at once.
    fn ask_another(&mut self, ticket: Ticket) {
        match self.next_upstream(ticket, true) {
            Some(next) => {
                self.counters.retries += 1;
                self.send_to(next, ticket);
                self.end_if_hopeless(ticket);
            }
            None => self.end_if_hopeless(ticket),
        }
    }

    fn take_answer(&mut self, ticket: Ticket, upstream: usize, answer: &[u8], may_keep: bool) {
        let Some(flight) = self.flights.get(ticket) else { return };
        if let Some(cache) = self.cache.as_mut().filter(|_| may_keep && !flight.is_private) {
            cache.put(&flight.key, flight.hash, answer, self.now / 1000);
        }
        self.give(ticket, Source::Upstream(self.upstreams.list[upstream].address), answer, true);
        self.end(ticket);
    }

    /// More was to be said than fits into a datagram.
    fn take_truncated(&mut self, ticket: Ticket, upstream: usize, answer: &[u8]) {
        let source = Source::Upstream(self.upstreams.list[upstream].address);
        self.give_to(Whom::OverUdp, ticket, source, answer, true);
        let Some(flight) = self.flights.get(ticket) else { return };
        if flight.askers.is_empty() {
            return self.end(ticket);
        }
        flight.over_tcp = true;
        self.dial(upstream, ticket);
        self.end_if_hopeless(ticket);
    }

    /// A reply to a signed query: not an octet of it is changed.
    fn pass_on(&mut self, ticket: Ticket, upstream: usize, message: &[u8]) {
        let source = Source::Upstream(self.upstreams.list[upstream].address);
        let mut askers = Vec::new();
        self.flights.take_askers(ticket, Whom::All, &mut askers);
        for asker in askers {
            self.replies.send(&asker.way, source, asker.since, |out| match out.get_mut(..message.len()) {
                Some(room) if message.len() <= asker.query.limit => {
                    room.copy_from_slice(message);
                    message.len()
                }
                _ => asker.query.write_truncated(out, asker.question.as_deref().unwrap_or_default()),
            });
        }
        self.end(ticket);
    }

    /// Something has happened on a connection to an upstream.
    pub fn advance_dial(&mut self, number: u16, events: i32) {
        let Some(dial) = self.dials.get(number) else { return };
        let (ticket, upstream, id) = (dial.ticket, dial.upstream, dial.id);
        let place = (upstream, TCP_DOOR, number);
        match self.dials.advance(number, events, &self.epoll) {
            Outcome::Nothing => {}
            Outcome::Reply(message) if self.take_reply(ticket, place, id, &message) => {
                self.dials.close(number, ticket);
            }
            Outcome::Reply(_) | Outcome::Failed => {
                self.dials.close(number, ticket);
                let Some(flight) = self.flights.get(ticket) else { return };
                flight.failed |= 1 << upstream;
                if let Some(sent) = flight.sent_as(place) {
                    sent.state = State::Over;
                }
                self.ask_another(ticket);
            }
        }
    }

    /// Nobody listens at an upstream, or no way leads there: all who wait at that door need another.
    pub fn unreachable(&mut self, upstream: usize, door: usize) {
        self.upstreams.list[upstream].count_failure();
        for ticket in self.upstreams.all_waiting(upstream, door) {
            let Some(flight) = self.flights.get(ticket) else { continue };
            flight.failed |= 1 << upstream;
            for sent in flight.sent.iter_mut().filter(|sent| (sent.upstream, sent.door) == (upstream, door)) {
                sent.state = State::Over;
                self.upstreams.forget(sent, ticket);
            }
            self.ask_another(ticket);
        }
    }

    // ---- time passes ----

    /// Sees to the flights whose stage is over.
    pub fn end_stages(&mut self) {
        while let Some((ticket, is_last)) = self.flights.next_due(self.now) {
            self.count_silence(ticket, SILENCE);
            let Some(flight) = self.flights.get(ticket) else { continue };
            flight.is_queued = false;
            if flight.has_stale && flight.is_late(self.now) && !flight.askers.is_empty() {
                self.give_stale(ticket);
            }
            if is_last {
                self.give_up(ticket);
            } else {
                self.ask_again(ticket);
            }
        }
    }

    /// Holds queries against their upstreams that were not answered for `silence` microseconds.
    fn count_silence(&mut self, ticket: Ticket, silence: u64) {
        let Some(flight) = self.flights.get(ticket) else { return };
        for sent in &mut flight.sent {
            if sent.state == State::Waiting && sent.door != TCP_DOOR && self.now - sent.at >= silence {
                sent.state = State::Silent;
                self.upstreams.list[sent.upstream].count_failure();
            }
        }
    }

    /// A stage has ended in silence: another upstream, or the same again; and of those not asked at all
    /// twice as many each time, so that the last of 32 has its turn.
    fn ask_again(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.get(ticket) else { return };
        for number in 0..1 << (flight.stage() - 1) {
            let Some(next) = self.next_upstream(ticket, number > 0) else { break };
            self.counters.retries += 1;
            self.send_to(next, ticket);
        }
        self.end_if_hopeless(ticket);
    }

    // ---- ends ----

    /// Gives an answer to all who wait. `fresh`: see [`Query::write_answer`].
    fn give(&mut self, ticket: Ticket, source: Source, answer: &[u8], fresh: bool) {
        self.give_to(Whom::All, ticket, source, answer, fresh);
    }

    fn give_to(&mut self, whom: Whom, ticket: Ticket, source: Source, answer: &[u8], fresh: bool) {
        let mut askers = std::mem::take(&mut self.served);
        self.flights.take_askers(ticket, whom, &mut askers);
        let Some(flight) = self.flights.get(ticket) else { return };
        let (in_lower_case, _) = split_key(&flight.key);
        for asker in askers.drain(..) {
            let question = asker.question.as_deref().unwrap_or(in_lower_case);
            self.replies
                .send(&asker.way, source, asker.since, |out| asker.query.write_answer(out, question, answer, fresh));
        }
        askers.shrink_to(USUAL_ASKERS);
        self.served = askers;
    }

    /// Gives the old answer to all who wait. The flight goes on: perhaps it still brings a new one.
    fn give_stale(&mut self, ticket: Ticket) {
        let (now, cache) = (self.now / 1000, self.cache.as_mut());
        let (Some(flight), Some(cache)) = (self.flights.get(ticket), cache) else { return };
        let Some(old) = cache.stale(&flight.key, flight.hash, now) else { return };
        let mut answer = old.to_vec();
        change_ttls(&mut answer, |_| STALE_TTL);
        cache.put_failure(&flight.key, flight.hash, &[], now);
        self.counters.stale += flight.askers.len() as u64;
        self.give(ticket, Source::Words("stale cache"), &answer, false);
    }

    /// No upstream has an answer: an old one will do, or the last "no" that was heard, or SERVFAIL.
    pub fn give_up(&mut self, ticket: Ticket) {
        self.give_stale(ticket);
        let Some(flight) = self.flights.get(ticket) else { return };
        if flight.askers.is_empty() {
            return self.end(ticket);
        }
        self.counters.failures += 1;
        let mut header = flight.refusal.unwrap_or_else(|| {
            let mut header = Header::default();
            header.set_qr(true);
            header.set_ra(true);
            header.set_rcode(rcode::SERVFAIL);
            header
        });
        header.set_tc(false);
        header.set_qdcount(1);
        header.set_ancount(0);
        header.set_nscount(0);
        header.set_arcount(0);
        let question = split_key(&flight.key).0;
        let mut answer = vec![0; HEADER_LENGTH];
        header.write(&mut answer);
        answer.extend(question);
        let may_keep = question.ends_with(&class::IN.to_be_bytes()) && !flight.is_private;
        if let Some(cache) = self.cache.as_mut().filter(|_| may_keep) {
            cache.put_failure(&flight.key, flight.hash, &answer, self.now / 1000);
        }
        self.give(ticket, Source::Words("here"), &answer, true);
        self.end(ticket);
    }

    fn end(&mut self, ticket: Ticket) {
        let (dials, upstreams) = (&mut self.dials, &mut self.upstreams);
        self.flights.end(ticket, |sent| match sent.door {
            TCP_DOOR => dials.close(sent.id, ticket),
            _ if sent.state != State::Over => upstreams.forget(&sent, ticket),
            _ => {}
        });
    }
}

/// Whether a socket could not be had for want of descriptors or memory, or for a limit of our own.
fn is_want_of_room(error: &io::Error) -> bool {
    let errnos = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.kind() == io::ErrorKind::QuotaExceeded || errnos.iter().any(|errno| error.raw_os_error() == Some(*errno))
}
