//! A device that cheats: it enrols honestly, then sends a forged signature share.
//!
//! The share is a random scalar, signed by the device's own identity key as if it were the real
//! one, so that only the aggregate shows it. Prints one line of JSON for each step: `digits`, then
//! `asked` for each proposal, whose two-digit number it reads from standard input.

use std::{io::BufRead, path::PathBuf, sync::Arc, time::Duration};

use clap::Parser;
use warifu_client_sdk::{
    runtime::os_entropy,
    transport::{
        Admission, Admit, IdentitySecret, Limits, Multiaddr, NetEvent, NetEvents, Network,
        NetworkOptions,
    },
};
use warifu_consensus::{
    agree::{Device, Event, Input, Output, Record, package_hash},
    body::ContentKey,
    encoding::{Context, derive},
    enrol::{EnrolMessage, EnrolOutput, Enrolment, Ticket},
    party::{Role, Sub},
    random::Entropy,
    share::{Commitment, KeyShare, Package, SignatureShare},
    signature::IdentityKey,
    vote::{Statement, Verb, Vote},
    wire::{Agree, Message, OperatorCommitments},
};
use warifu_node::clock;

/// Enrols with a ticket, then forges.
#[derive(Parser)]
struct Arguments {
    /// File with the ticket's URI.
    #[arg(long)]
    ticket: PathBuf,
}

type Trouble = Box<dyn std::error::Error + Send + Sync>;

struct Nobody;

impl Admission for Nobody {
    fn admit(&self, _: &[u8; 32]) -> Admit {
        Admit::No
    }
}

/// The lines of this one device.
struct Lines {
    network: Network,
    events: NetEvents,
    broker: [u8; 32],
    trust_operator: [u8; 32],
    unsent: Vec<Message>,
    trust_operator_up: bool,
}

impl Lines {
    fn send(&mut self, to: Role, message: Message) -> Result<(), Trouble> {
        if to == Role::TrustOperator && !self.trust_operator_up {
            self.unsent.push(message);
            return Ok(());
        }
        let peer = if to == Role::Broker {
            self.broker
        } else {
            self.trust_operator
        };
        // A frame that is lost is repeated by its machine.
        let _ = self.network.send(peer, None, message.to_frame()?);
        Ok(())
    }

    /// The next message, and from whom; `None` when a line came up.
    async fn next(&mut self) -> Result<Result<(Role, Message), Role>, Trouble> {
        loop {
            match self.events.recv().await.ok_or("the network ended")? {
                NetEvent::Up { peer, .. } if peer == self.broker => return Ok(Err(Role::Broker)),
                NetEvent::Up { .. } => {
                    self.trust_operator_up = true;
                    for message in std::mem::take(&mut self.unsent) {
                        self.send(Role::TrustOperator, message)?;
                    }
                    return Ok(Err(Role::TrustOperator));
                }
                NetEvent::Frame { peer, frame, .. } => {
                    let role = if peer == self.broker {
                        Role::Broker
                    } else {
                        Role::TrustOperator
                    };
                    return Ok(Ok((role, Message::from_frame(&frame)?)));
                }
                _ => {}
            }
        }
    }
}

struct Enrolled {
    founding: Record,
    sub: Sub,
    share: KeyShare,
    content_key: ContentKey,
}

#[tokio::main]
async fn main() -> Result<(), Trouble> {
    let arguments = Arguments::parse();
    let ticket = Ticket::from_uri(&std::fs::read_to_string(arguments.ticket)?)?;
    let mut seed = [0u8; 32];
    os_entropy()?.fill(&mut seed);
    let key = Arc::new(IdentityKey::from_seed(seed));
    let mut lines = connect(&ticket, seed).await?;
    let enrolled = enrol(&ticket, &key, &mut lines).await?;
    forge(&key, enrolled, &mut lines).await
}

async fn connect(ticket: &Ticket, seed: [u8; 32]) -> Result<Lines, Trouble> {
    let (network, events) = Network::start(NetworkOptions {
        identity: IdentitySecret::new(seed),
        listen: Vec::new(),
        admission: Arc::new(Nobody),
        limits: Limits::default(),
    })
    .await?;
    let parse = |texts: &[String]| -> Result<Vec<Multiaddr>, Trouble> {
        Ok(texts.iter().map(|t| t.parse()).collect::<Result<_, _>>()?)
    };
    network.connect(ticket.ledger.broker, parse(&ticket.broker_addresses)?)?;
    Ok(Lines {
        network,
        events,
        broker: ticket.ledger.broker,
        trust_operator: ticket.ledger.trust_operator,
        unsent: Vec::new(),
        trust_operator_up: false,
    })
}

async fn enrol(
    ticket: &Ticket,
    key: &Arc<IdentityKey>,
    lines: &mut Lines,
) -> Result<Enrolled, Trouble> {
    let (mut machine, mut outputs) =
        Enrolment::of_device(ticket, Arc::clone(key), &mut os_entropy()?);
    let hello = std::mem::take(&mut outputs);
    let (mut kept, mut hello) = (None, Some(hello));
    loop {
        for output in outputs {
            match output {
                EnrolOutput::Send { to, message } => {
                    if to == Role::TrustOperator && matches!(message, EnrolMessage::Round1 { .. }) {
                        // The session is announced: now the trust operator admits this device.
                        let addresses: Vec<Multiaddr> = ticket
                            .trust_operator_addresses
                            .iter()
                            .map(|t| t.parse())
                            .collect::<Result<_, _>>()?;
                        lines.network.connect(lines.trust_operator, addresses)?;
                    }
                    lines.send(to, Message::Enrol(Box::new(message)))?;
                }
                EnrolOutput::KeepShare {
                    share, content_key, ..
                } => {
                    kept = Some((*share, content_key.ok_or("no content key")?));
                }
                EnrolOutput::Digits(digits) => say(&serde_json::json!({
                    "digits": digits.to_string()
                })),
                EnrolOutput::Founded(founding) => {
                    let (share, content_key) = kept.take().ok_or("founded without a share")?;
                    let sub = founding.sub;
                    let founding = Record::Founding(founding);
                    return Ok(Enrolled {
                        founding,
                        sub,
                        share,
                        content_key,
                    });
                }
                EnrolOutput::Failed { reason, .. } => return Err(reason.into()),
                EnrolOutput::Ready | EnrolOutput::WrongDigits { .. } => {}
            }
        }
        outputs = match lines.next().await? {
            Err(Role::Broker) => hello.take().unwrap_or_default(),
            Ok((from, Message::Enrol(message))) => {
                machine.handle(clock::now(), from, *message, &mut os_entropy()?)
            }
            _ => Vec::new(),
        };
    }
}

async fn forge(
    key: &Arc<IdentityKey>,
    enrolled: Enrolled,
    lines: &mut Lines,
) -> Result<(), Trouble> {
    let Enrolled {
        founding,
        sub,
        share,
        content_key,
    } = enrolled;
    let mut machine = Device::recover([founding], Arc::clone(key), Some(share), content_key)?;
    let mut operators: Option<OperatorCommitments> = None;
    let mut inputs = vec![Input::LineUp(Role::Broker)];
    loop {
        for input in std::mem::take(&mut inputs) {
            let outputs = machine.handle(clock::now(), input, &mut os_entropy()?);
            for output in outputs {
                match output {
                    Output::Send { to, agree } => {
                        let genesis = machine.base().head().is_none();
                        let agree = match (agree, &operators) {
                            (
                                Agree::Assent {
                                    hash,
                                    commitment,
                                    vote,
                                    ..
                                },
                                Some(others),
                            ) if !genesis => forged(key, sub, hash, commitment, vote, others)?,
                            (agree, _) => agree,
                        };
                        lines.send(
                            to,
                            Message::Agree {
                                sub,
                                agree: Box::new(agree),
                            },
                        )?;
                    }
                    Output::Tell(Event::Prompt(prompt)) => {
                        say(&serde_json::json!({ "asked": prompt.hash.to_string() }));
                        let mut number = String::new();
                        std::io::stdin().lock().read_line(&mut number)?;
                        let number = number.trim().parse()?;
                        inputs.push(Input::Approve {
                            hash: prompt.hash,
                            number,
                        });
                    }
                    _ => {}
                }
            }
        }
        if !inputs.is_empty() {
            continue;
        }
        let next = tokio::time::timeout(Duration::from_secs(120), lines.next());
        if let Ok((from, Message::Agree { agree, .. })) = next.await?? {
            if let Agree::Propose { commitments, .. } = &*agree {
                operators = Some(commitments.clone());
            }
            inputs.push(Input::Message {
                from,
                agree: *agree,
            });
        }
    }
}

/// The same assent with a share that fits nothing, properly signed by its sender.
fn forged(
    key: &IdentityKey,
    sub: Sub,
    hash: warifu_consensus::encoding::Hash,
    commitment: Commitment,
    vote: Vote,
    operators: &OperatorCommitments,
) -> Result<Agree, Trouble> {
    let mut scalar = [0u8; 32];
    os_entropy()?.fill(&mut scalar);
    // Below the group's order, which is above 2^252.
    scalar[31] &= 0x0f;
    let share = SignatureShare::decode(&scalar)?;
    let package = Package::new([
        commitment,
        operators.broker,
        operators.trust_operator.commitment,
    ]);
    let object = derive(
        Context::Share,
        &[&hash.0, &package_hash(&package).0, &scalar],
    );
    let statement = Statement {
        verb: Verb::Share,
        role: Role::Device,
        sub,
        hash: object,
    };
    let share = warifu_consensus::wire::SignedShare {
        share,
        vote: Vote::sign(key, &statement),
    };
    Ok(Agree::Assent {
        hash,
        commitment,
        share,
        vote,
    })
}

fn say(line: &serde_json::Value) {
    println!("{line}");
}
