//! Enrolment through the lossy world: the node's part around the real `Enrolment` machines.

use warifu_consensus::{
    agree::Record,
    enrol::{EnrolMessage, EnrolOutput, Enrolment, SixDigits},
    party::Role,
    wire::{Agree, Message},
};

use super::{
    decisions::What,
    founded::operators,
    network::NodeId,
    party::{Machine, at},
    world::{Deed, World},
};

impl World {
    /// The customer scans the ticket with the device.
    pub(super) fn scan(&mut self, account: usize) {
        let node = Self::node_of(account, Role::Device);
        let clock = self.clock(account, Role::Device);
        let Some(ticket) = self.places[account].ticket.clone() else {
            return;
        };
        if !self.nodes[node].up || self.seat(account, Role::Device).consumed {
            return;
        }
        if ticket.check(&operators().ledger, clock).is_err() {
            return;
        }
        let key = self.seat(account, Role::Device).key.clone();
        let (machine, outputs) = Enrolment::of_device(&ticket, key, &mut self.entropy);
        let seat = self.seat_mut(account, Role::Device);
        seat.consumed = true;
        seat.enrolment = Some(machine);
        self.perform_enrolment(account, Role::Device, outputs);
    }

    /// The customer types digits into the page.
    pub(super) fn type_digits(&mut self, account: usize, digits: SixDigits) {
        let clock = self.clock(account, Role::Broker);
        if let Some(machine) = &mut self.seat_mut(account, Role::Broker).enrolment {
            let outputs = machine.confirm(clock, digits);
            self.perform_enrolment(account, Role::Broker, outputs);
        }
    }

    pub(super) fn receive_enrolment(&mut self, node: NodeId, peer: NodeId, message: EnrolMessage) {
        let roles = [Role::Broker, Role::TrustOperator, Role::Device];
        let (role, from) = (roles[node.min(2)], roles[peer.min(2)]);
        let account = self.places.iter().position(|p| {
            p.ticket
                .as_ref()
                .is_some_and(|t| &t.session == message.session())
        });
        let Some(account) = account else { return };
        let clock = self.clock(account, role);
        let ticket = self.places[account].ticket.clone().expect("just found");
        let entropy = &mut self.entropy;
        let seat = &mut self.places[account].seats[at(role)];
        let outputs = match (&mut seat.enrolment, role, &message) {
            (Some(machine), _, _) => machine.handle(clock, from, message, entropy),
            (None, Role::Broker, EnrolMessage::Hello(hello)) if !seat.consumed => {
                seat.consumed = true;
                match Enrolment::of_broker(&ticket, hello, seat.key.clone(), entropy) {
                    Ok((machine, outputs)) => {
                        seat.enrolment = Some(machine);
                        outputs
                    }
                    Err(_) => return,
                }
            }
            (None, Role::TrustOperator, EnrolMessage::Announce { .. }) if !seat.consumed => {
                seat.consumed = true;
                let ledger = &operators().ledger;
                match Enrolment::of_trust_operator(
                    ledger,
                    &message,
                    seat.key.clone(),
                    clock,
                    entropy,
                ) {
                    Ok((machine, outputs)) => {
                        seat.enrolment = Some(machine);
                        outputs
                    }
                    Err(_) => return,
                }
            }
            _ => return,
        };
        self.perform_enrolment(account, role, outputs);
    }

    pub(super) fn perform_enrolment(
        &mut self,
        account: usize,
        role: Role,
        outputs: Vec<EnrolOutput>,
    ) {
        let node = Self::node_of(account, role);
        let crashes = self.trouble.crash_one_in;
        let crash = match outputs.len() {
            0 => None,
            _ => self.decisions.fault(What::Crash, node, crashes),
        };
        let crash = crash.map(|mut chance| {
            let cut = chance.below(outputs.len() as u64 + 1) as usize;
            (cut, chance.between(200, 10_000))
        });
        for (number, output) in outputs.into_iter().enumerate() {
            if crash.is_some_and(|(cut, _)| cut == number) {
                break;
            }
            self.perform_enrolment_one(account, role, output);
            if !self.nodes[node].up {
                return;
            }
        }
        if let Some((_, ms)) = crash {
            return self.stop(node, ms);
        }
        self.schedule_tick(account, role);
    }

    fn perform_enrolment_one(&mut self, account: usize, role: Role, output: EnrolOutput) {
        match output {
            EnrolOutput::Send { to, message } => {
                let name = message.name();
                let message = Message::Enrol(Box::new(message));
                self.post_message(account, role, to, name, &message);
            }
            EnrolOutput::KeepShare {
                share, content_key, ..
            } => {
                let seat = self.seat_mut(account, role);
                seat.share = Some(share.encode().to_vec());
                seat.content_key = content_key.map(|key| *key.expose());
            }
            EnrolOutput::Digits(digits) => {
                if self.decisions.fault(What::Customer, account, 12).is_some() {
                    let wrong = SixDigits::parse("000000").expect("six digits");
                    self.after(3_000, Deed::TypeDigits(account, wrong));
                }
                for _ in 0..3 {
                    let delay = self
                        .decisions
                        .neutral(What::Pause, account)
                        .between(4_000, 40_000);
                    self.after(delay, Deed::TypeDigits(account, digits));
                }
            }
            EnrolOutput::Ready | EnrolOutput::WrongDigits { .. } => {}
            EnrolOutput::Founded(founding) => {
                self.tell_story(&format!("a{account} {role} is founded"));
                self.places[account].sub = Some(founding.sub);
                if !self.settle(account, role, &mut vec![Record::Founding(founding)]) {
                    return;
                }
                let options = self.options;
                let seat = self.seat_mut(account, role);
                seat.recover(options).expect("a founding starts a machine");
                self.introduce(account, role);
                if role == Role::Broker {
                    self.open_genesis(account);
                }
                self.schedule_tick(account, role);
            }
            EnrolOutput::Failed {
                culprit,
                reason,
                kept,
            } => {
                self.tell_story(&format!("a{account} {role} enrolment failed: {reason}"));
                if let Some(culprit) = culprit.filter(|c| !self.audit.cheats[at(*c)]) {
                    let what =
                        format!("the {role} blames the honest {culprit} in an enrolment: {reason}");
                    self.audit.failed(account, what);
                }
                if kept.is_some() {
                    self.seat_mut(account, role).share = None;
                }
            }
        }
    }

    /// The broker's node proposes the genesis in the session that founded the account.
    pub fn open_genesis(&mut self, account: usize) {
        let clock = self.clock(account, Role::Broker);
        let seat = &mut self.places[account].seats[at(Role::Broker)];
        if let Some(Machine::Broker(broker)) = &mut seat.machine {
            let outputs = broker.open_genesis(clock, 90, &mut self.entropy);
            if self.perform(account, Role::Broker, outputs) {
                self.schedule_tick(account, Role::Broker);
            }
        }
    }

    /// A trust operator's node that used a session up and founded nothing can never found it: it
    /// answers for the account that it does not have.
    pub(super) fn answer_for_nobody(
        &mut self,
        account: usize,
        role: Role,
        from: Role,
        agree: &Agree,
    ) {
        let seat = self.seat(account, role);
        let over = seat.consumed && seat.enrolment.as_ref().is_none_or(Enrolment::is_over);
        let asks = matches!(
            agree,
            Agree::HeadIs {
                head: None,
                ask: true,
                ..
            }
        );
        if role == Role::TrustOperator && over && asks {
            self.post(account, role, from, Agree::GenesisDead);
        }
    }
}
