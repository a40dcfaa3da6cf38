//! Messages, lines and nodes: what leaves, what arrives, what stops and starts.

use super::*;

impl World {
    /// Puts a message on its line.
    pub fn post(&mut self, account: usize, from: Role, to: Role, agree: Agree) {
        self.invariants.sent(account, from, to, &agree);
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
            self.tell_story(format!(
                "a{account} {from} → {to} {name}: lost with the line"
            ));
            let line = self.line_between(Self::node_of(account, from), Self::node_of(account, to));
            self.drop_line(line);
            return;
        }
        self.post_message(account, from, to, name, &message);
    }

    pub(in crate::scenario) fn post_message(
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
                self.invariants
                    .failed(account, format!("{from}'s {name} has no frame: {error}"));
                return;
            }
        };
        let (source, target) = (Self::node_of(account, from), Self::node_of(account, to));
        let line = self.line_between(source, target);
        let end = self.lines[line].end_of(source).expect("an end");
        if !self.lines[line].carries_from(end) {
            self.tell_story(format!("a{account} {from} → {to} {name}: no line"));
            return;
        }
        self.tell_story(format!("a{account} {from} → {to} {name}"));
        let session = self.lines[line].session;
        let twice = self.weather.twice_one_in > 0 && self.chance.one_in(self.weather.twice_one_in);
        for _ in 0..=u8::from(twice) {
            let at = self.lines[line].arrival(1 - end, self.now, self.weather, &mut self.chance);
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
    pub(in crate::scenario) fn introduce(&mut self, account: usize, role: Role) {
        let node = Self::node_of(account, role);
        for peer in Role::ALL.into_iter().filter(|r| *r != role) {
            let line = self.line_between(node, Self::node_of(account, peer));
            let end = self.lines[line].end_of(node).expect("an end");
            if self.lines[line].carries_from(end) {
                self.feed(account, role, Input::LineUp(peer));
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
            Ok(Message::Clock(_)) => {}
            Err(error) => self
                .invariants
                .failed(0, format!("a frame did not decode: {error}")),
        }
    }

    fn receive(&mut self, account: usize, role: Role, from: Role, agree: Agree) {
        if let Some(mut hostile) = self.hostile.take_if(|h| h.role == role) {
            let keep = hostile.incoming(self, account, from, &agree);
            self.hostile = Some(hostile);
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
        if self.lines[line].up || ends.iter().any(|n| !self.nodes[*n].up) {
            return;
        }
        self.lines[line].connect(self.now);
        let session = self.lines[line].session;
        for end in 0..2 {
            let at = self.lines[line].arrival(end, self.now, self.weather, &mut self.chance);
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
            if !self.chance.one_in(4) {
                let at = self.now + self.chance.between(1, 3_000);
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
        let delay = self.chance.between(50, 15_000);
        self.after(delay, Deed::Connect(line));
    }

    /// A node stops: RAM is gone, the disk stays.
    pub fn stop(&mut self, node: NodeId, ms: u64) {
        if !std::mem::replace(&mut self.nodes[node].up, false) {
            return;
        }
        self.tell_story(format!("node {node} stops for {ms} ms"));
        for line in 0..self.lines.len() {
            if let Some(end) = self.lines[line].end_of(node) {
                self.drop_line(line);
                self.lines[line].seen[end] = None;
            }
        }
        let role = Self::role_of(node);
        if role == Role::Broker {
            self.invariants.broker_crashed = true;
        }
        for account in 0..self.places.len() {
            if Self::node_of(account, role) != node {
                continue;
            }
            if role == Role::Device {
                self.places[account].prompts.clear();
            }
            let seat = self.seat_mut(account, role);
            seat.machine = None;
            seat.enrolment = None;
            seat.tick_at = None;
        }
        self.after(ms, Deed::Start(node));
    }

    /// A node starts from its disk.
    pub fn start(&mut self, node: NodeId) {
        if std::mem::replace(&mut self.nodes[node].up, true) {
            return;
        }
        self.tell_story(format!("node {node} starts"));
        let (role, options) = (Self::role_of(node), self.options);
        for account in 0..self.places.len() {
            if Self::node_of(account, role) != node {
                continue;
            }
            if let Err(error) = self.seat_mut(account, role).recover(options) {
                self.invariants
                    .failed(account, format!("the {role} does not start: {error}"));
                return;
            }
            self.schedule_tick(account, role);
        }
        for line in 0..self.lines.len() {
            if self.lines[line].end_of(node).is_some() {
                let delay = self.chance.between(20, 2_000);
                self.after(delay, Deed::Connect(line));
            }
        }
    }
}
