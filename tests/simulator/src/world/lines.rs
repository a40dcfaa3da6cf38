//! Messages, lines and nodes: what leaves, what arrives, what stops and starts.

use warifu_consensus::wire::Message;

use super::*;

/// After so long a silence an end takes a line for lost, as the wire's limits say.
const SILENCE_MS: u64 = 60_000;

impl World {
    /// Puts a message on its line.
    pub fn post(&mut self, account: usize, from: Role, to: Role, agree: Agree) {
        let (source, target) = (eyes::party(from), eyes::party(to));
        self.audit
            .said(account, source, target, &eyes::said(&agree));
        if let Some(heard) = &mut self.heard {
            heard.push((from, to, agree.clone()));
        }
        let Some(sub) = self.places[account].sub else {
            return;
        };
        let name = agree.name();
        let message = Message::Agree {
            sub,
            agree: Box::new(agree),
        };
        if self.lose == Some((from, name)) {
            self.lose = None;
            self.tell_story(&format!(
                "a{account} {from} → {to} {name}: lost with the line"
            ));
            let line = self.line_between(Self::node_of(account, from), Self::node_of(account, to));
            self.drop_line(line);
            return;
        }
        self.post_message(account, from, to, name, &message);
    }

    pub(crate) fn post_message(
        &mut self,
        account: usize,
        from: Role,
        to: Role,
        name: &str,
        message: &Message,
    ) {
        let frame = match message.to_frame() {
            Ok(frame) => frame,
            Err(error) => {
                self.audit
                    .failed(account, format!("{from}'s {name} has no frame: {error}"));
                return;
            }
        };
        let (source, target) = (Self::node_of(account, from), Self::node_of(account, to));
        let line = self.line_between(source, target);
        let end = self.lines[line].end_of(source).expect("an end");
        if !self.lines[line].carries_from(end) {
            self.tell_story(&format!("a{account} {from} → {to} {name}: no line"));
            return;
        }
        self.tell_story(&format!("a{account} {from} → {to} {name}"));
        let session = self.lines[line].session;
        self.story.bytes(&frame);
        let twice = self
            .decisions
            .fault(What::Twice, line, self.weather.twice_one_in);
        for _ in 0..=u8::from(twice.is_some()) {
            let at = self.arrival(line, 1 - end, true);
            let item = Item::Frame(frame.clone());
            self.at(
                at,
                Deed::Arrive {
                    line,
                    end: 1 - end,
                    session,
                    item,
                },
            );
        }
    }

    /// The line between two nodes.
    #[must_use]
    pub fn line_between(&self, one: NodeId, two: NodeId) -> usize {
        self.lines
            .iter()
            .position(|l| l.end_of(one).is_some() && l.end_of(two).is_some())
            .expect("every pair of parties has a line")
    }

    pub(super) fn arrive(&mut self, line: usize, end: usize, session: u64, item: Item) {
        let l = &mut self.lines[line];
        let (node, peer) = (l.ends[end], l.ends[1 - end]);
        if !self.nodes[node].up {
            return;
        }
        match item {
            Item::Down if l.seen[end] == Some(session) => {
                l.seen[end] = None;
                self.line_event(node, peer, false);
            }
            Item::Up if l.up && l.session == session => {
                l.seen[end] = Some(session);
                self.line_event(node, peer, true);
            }
            Item::Frame(frame) if l.up && l.session == session && l.seen[end] == Some(session) => {
                self.deliver(node, peer, &frame);
            }
            _ => {}
        }
    }

    pub(super) fn role_of(node: NodeId) -> Role {
        match node {
            0 => Role::Broker,
            1 => Role::TrustOperator,
            _ => Role::Device,
        }
    }

    fn accounts_between(&self, node: NodeId, peer: NodeId) -> Vec<usize> {
        match node.max(peer) {
            device @ 2.. => vec![device - 2],
            _ => (0..self.places.len()).collect(),
        }
    }

    fn line_event(&mut self, node: NodeId, peer: NodeId, up: bool) {
        let (role, peer_role) = (Self::role_of(node), Self::role_of(peer));
        for account in self.accounts_between(node, peer) {
            let input = if up {
                Input::LineUp(peer_role)
            } else {
                Input::LineDown(peer_role)
            };
            self.feed(account, role, input);
        }
    }

    /// Tells a machine that just started which lines are up.
    pub(crate) fn introduce(&mut self, account: usize, role: Role) {
        let node = Self::node_of(account, role);
        for peer in Role::ALL.into_iter().filter(|r| *r != role) {
            let line = self.line_between(node, Self::node_of(account, peer));
            let end = self.lines[line].end_of(node).expect("an end");
            if self.lines[line].carries_from(end) {
                self.feed_at_hand(account, role, Input::LineUp(peer));
            }
        }
    }

    fn deliver(&mut self, node: NodeId, peer: NodeId, frame: &[u8]) {
        let (role, from) = (Self::role_of(node), Self::role_of(peer));
        match Message::from_frame(frame) {
            Ok(Message::Agree { sub, agree }) => {
                let accounts = self.accounts_between(node, peer);
                let account = accounts
                    .into_iter()
                    .find(|a| self.places[*a].sub == Some(sub));
                let Some(account) = account else { return };
                self.receive(account, role, from, *agree);
            }
            Ok(Message::Enrol(message)) => self.receive_enrolment(node, peer, *message),
            // No machine hears of it, and none here says it.
            Ok(Message::Clock(_) | Message::Log(_)) => {}
            Err(error) => self
                .audit
                .failed(0, format!("a frame did not decode: {error}")),
        }
    }

    fn receive(&mut self, account: usize, role: Role, from: Role, agree: Agree) {
        if let Some(cheat) = self.hostile.iter().position(|h| h.role == role) {
            let mut hostile = self.hostile.remove(cheat);
            let keep = hostile.incoming(self, account, from, &agree);
            self.hostile.insert(cheat, hostile);
            if !keep {
                return;
            }
        }
        if self.seat(account, role).machine.is_none() {
            self.answer_for_nobody(account, role, from, &agree);
            return;
        }
        self.feed(account, role, Input::Message { from, agree });
    }

    /// Starts a session on a line, if both nodes run; else later.
    pub fn connect(&mut self, line: usize) {
        let ends = self.lines[line].ends;
        let apart_until = self.lines[line].apart_until;
        if self.lines[line].up || ends.iter().any(|n| !self.nodes[*n].up) {
            return;
        }
        if self.now < apart_until {
            return self.at(apart_until, Deed::Connect(line));
        }
        self.lines[line].connect(self.now);
        let session = self.lines[line].session;
        for end in 0..2 {
            let at = self.arrival(line, end, false);
            self.at(
                at,
                Deed::Arrive {
                    line,
                    end,
                    session,
                    item: Item::Up,
                },
            );
        }
    }

    /// Loses a line; it is made anew after a while.
    pub fn drop_line(&mut self, line: usize) {
        if !self.lines[line].up {
            return;
        }
        self.lines[line].up = false;
        let session = self.lines[line].session;
        for end in 0..2 {
            // One end in four learns of it by the next session only.
            if self.decisions.fault(What::Unnoticed, line, 4).is_none() {
                let mut pause = self.decisions.neutral(What::Pause, line);
                let at = self.now + pause.between(1, 3_000);
                self.at(
                    at,
                    Deed::Arrive {
                        line,
                        end,
                        session,
                        item: Item::Down,
                    },
                );
            }
        }
        let delay = self
            .decisions
            .neutral(What::Pause, line)
            .between(50, 15_000);
        self.after(delay, Deed::Connect(line));
    }

    /// When an item sent now arrives at this end: behind what was sent before it in its session,
    /// unless it is overtaken.
    fn arrival(&mut self, line: usize, end: usize, is_frame: bool) -> u64 {
        let place = line * 2 + end;
        let weather = self.weather;
        let usual = weather.delay_ms.max(3);
        let mut delay = self.decisions.neutral(What::Pause, place).between(3, usual);
        if let Some(mut chance) = self.decisions.fault(What::Slow, place, weather.slow_one_in) {
            delay += chance.below(8_000);
        }
        let l = &mut self.lines[line];
        let at = (self.now + delay).max(l.last[end]);
        let overtaken = weather.overtaken_one_in;
        if is_frame
            && let Some(mut chance) = self.decisions.fault(What::Overtaken, place, overtaken)
        {
            return at + chance.between(1, 2_000);
        }
        l.last[end] = at;
        at
    }

    /// A line is lost and cannot be made again for so long.
    pub(super) fn partition(&mut self, line: usize, ms: u64) {
        let [one, two] = self.lines[line].ends;
        self.tell_story(&format!("nodes {one} and {two} are apart for {ms} ms"));
        self.lines[line].apart_until = self.now + ms;
        self.drop_line(line);
    }

    /// Nothing reaches one end for so long. What is sent meanwhile arrives later, unless the silence
    /// lasts longer than lines live: then that end takes the line for lost.
    pub(super) fn stall(&mut self, line: usize, end: usize, ms: u64) {
        let l = &mut self.lines[line];
        let (node, peer) = (l.ends[end], l.ends[1 - end]);
        l.last[end] = l.last[end].max(self.now + ms);
        if ms > SILENCE_MS {
            self.after(SILENCE_MS, Deed::DropLine(line));
        }
        self.tell_story(&format!(
            "nothing from node {peer} reaches node {node} for {ms} ms"
        ));
    }
}
