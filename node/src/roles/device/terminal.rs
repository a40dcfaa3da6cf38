//! Asking the customer on the terminal that the device was started on.
//!
//! Decides what is shown when. Kind and relying party come first in this program's own words, then
//! what the broker states, called so. One proposal at a time; one that ends elsewhere is withdrawn.
//! It never decides for the customer, and prints no text of another party that could steer the
//! terminal: blocks and bodies hold none, and reasons are cleaned here.

use std::{
    collections::HashSet,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    time::{Interval, MissedTickBehavior, interval},
};
use warifu_client_sdk::device::{
    Decision, Device, DeviceError, DeviceEvent, EnrolStage, Enrolling, PendingView,
};
use warifu_consensus::{
    encoding::Hash,
    enrol::Ticket,
    wire::{Reason, plain},
};

use super::{
    input::{Input, Typed},
    reply::Reply,
};
use crate::{
    clock,
    output::{Lang, Output, Style, large},
    words::{self, Both},
};

/// How often the time that is left is shown anew.
const TICK: Duration = Duration::from_secs(1);

/// Stages of enrolments that may wait to be shown.
const STAGES: usize = 16;

/// The terminal is gone; the device runs on without.
struct Gone;

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Self {
        tracing::info!(%error, "the terminal failed");
        Self
    }
}

/// See the module.
pub(super) struct Terminal {
    input: Input,
    output: Output,
    /// Whether the cursor can be moved, to count down in place.
    moves: bool,
    /// A question is on the last line, which is not ended.
    is_asking: bool,
    /// Pending proposals that are not asked here again: answered, or left by the customer.
    left: HashSet<Hash>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The shell's own line begins on a new one; nobody is told if it can't.
        drop(self.end_question());
    }
}

impl Terminal {
    /// `None` unless standard input and output are terminals.
    pub(super) fn open(language: Option<Lang>) -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let terminal = std::env::var("TERM").unwrap_or_default();
        Some(Self {
            input: Input::open()?,
            output: Output::new(false, language),
            moves: !terminal.is_empty() && terminal != "dumb",
            is_asking: false,
            left: HashSet::new(),
        })
    }

    /// Asks until the terminal or the device is gone.
    pub(super) async fn run(mut self, device: Device) {
        if let Err(Gone) = self.serve(&device).await {
            tracing::info!("nothing is asked on the terminal any more");
        }
    }

    async fn serve(&mut self, device: &Device) -> Result<(), Gone> {
        let mut events = device.events();
        let (told, mut stages) = mpsc::channel(STAGES);
        let mut tick = ticking();
        self.say(words::WAITING)?;
        loop {
            let pending = device.pending();
            self.left
                .retain(|hash| pending.iter().any(|p| p.prompt.hash == *hash));
            let open = pending
                .iter()
                .filter(|p| !self.left.contains(&p.prompt.hash));
            let next = open.min_by_key(|p| p.prompt.claims.exp);
            if let Some(asked) = next
                && self.input.is_foreground()
            {
                self.ask(device, asked).await?;
                continue;
            }
            tokio::select! {
                event = events.recv() => match event {
                    Ok(DeviceEvent::Enrolling(enrolling)) => {
                        tokio::spawn(follow(enrolling, told.clone()));
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                Some(stage) = stages.recv() => self.enrolment(stage)?,
                typed = self.input.next() => self.idle(device, typed?).await?,
                // Put into the foreground again, it is not told so.
                _ = tick.tick(), if next.is_some() => {}
            }
        }
    }

    /// Shows one proposal, and does not return before it is decided, left or over.
    async fn ask(&mut self, device: &Device, asked: &PendingView) -> Result<(), Gone> {
        let mut events = device.events();
        let hash = asked.prompt.hash;
        self.input.drop_typed();
        let shown = words::proposal(&super::view(asked), self.output);
        self.write(&format!("\n\x07{shown}\n"))?;
        self.say(words::ANSWER)?;
        self.question(asked)?;
        let mut tick = ticking();
        loop {
            tokio::select! {
                typed = self.input.next() => {
                    // The customer's own line end is on the screen.
                    self.is_asking = false;
                    match typed? {
                        Typed::Line(line) => match Reply::parse(&line) {
                            Reply::Number(number) => return self.approve(device, hash, number).await,
                            Reply::Deny { not_me } => return self.deny(device, hash, not_me).await,
                            Reply::Nothing => {}
                            Reply::Unclear => self.say(words::UNCLEAR)?,
                        },
                        Typed::End => {
                            self.left.insert(hash);
                            self.write("\n")?;
                            return self.say(words::LATER);
                        }
                    }
                    self.question(asked)?;
                }
                over = over(&mut events, hash) => {
                    self.end_question()?;
                    return match over {
                        Over::Sealed => self.say(words::ELSEWHERE),
                        Over::Gone(reason) => {
                            self.say_because(words::WITHDRAWN, reason.as_ref().map(words::reason))
                        }
                    };
                }
                _ = tick.tick() => {
                    if !device.pending().iter().any(|p| p.prompt.hash == hash) {
                        self.end_question()?;
                        return self.say(words::WITHDRAWN);
                    }
                    self.count_down(asked)?;
                }
            }
        }
    }

    async fn approve(&mut self, device: &Device, hash: Hash, number: u8) -> Result<(), Gone> {
        self.left.insert(hash);
        self.say(words::SENDING)?;
        match device.approve(hash, number).await {
            Ok(Decision::Sealed(_)) => self.say(words::APPROVED),
            Ok(Decision::Open) => self.say(words::SENT),
            Ok(Decision::Refused(reason)) => {
                self.say_because(words::REFUSED, reason.as_ref().map(words::reason))
            }
            Err(error) => self.not_sent(&error),
        }
    }

    async fn deny(&mut self, device: &Device, hash: Hash, not_me: bool) -> Result<(), Gone> {
        self.left.insert(hash);
        self.say(words::SENDING)?;
        match device.deny(hash, not_me).await {
            Ok(_) if not_me => self.say(words::DISOWNED),
            Ok(_) => self.say(words::DENIED),
            Err(error) => self.not_sent(&error),
        }
    }

    fn not_sent(&self, error: &DeviceError) -> Result<(), Gone> {
        match error {
            DeviceError::NoProposal { .. } => self.say(words::ELSEWHERE),
            error => self.say_because(words::NOT_SENT, Some(words::device_error(error))),
        }
    }

    /// A line while nothing is asked: a ticket, or nothing.
    async fn idle(&mut self, device: &Device, typed: Typed) -> Result<(), Gone> {
        let line = match typed {
            Typed::Line(line) if line.is_empty() => return Ok(()),
            Typed::Line(line) if line.starts_with("warifu:") => line,
            Typed::Line(_) => return self.say(words::WAITING),
            Typed::End => return Err(Gone),
        };
        let ticket = match Ticket::from_uri(&line) {
            Ok(ticket) => ticket,
            Err(error) => {
                let reason = words::ticket_error(&error);
                return self.say_because(words::MALFORMED_TICKET, Some(reason));
            }
        };
        match device.enrol(&ticket).await {
            // Its stages are told as those of every enrolment.
            Ok(_) => Ok(()),
            Err(error) => {
                let reason = words::device_error(&error);
                self.say_because(words::NOT_ENROLLED, Some(reason))
            }
        }
    }

    fn enrolment(&mut self, stage: EnrolStage) -> Result<(), Gone> {
        match stage {
            EnrolStage::Running => self.say(words::ENROLLING),
            EnrolStage::Digits(digits) => {
                let digits = digits.to_string();
                let strong = self.output.paint(Style::Strong, &digits);
                self.write(&format!("\n{}\n\n  {strong}\n\n", large(&digits)))?;
                self.say(words::DIGITS)
            }
            EnrolStage::Founded(sub) => {
                self.say(words::ENROLLED)?;
                self.write(&format!("{sub}\n"))
            }
            EnrolStage::Failed(reason) => {
                // Another party's own text, in the one language that parties speak.
                self.say(words::NOT_ENROLLED)?;
                self.write(&format!("  {}\n", plain(&reason)))
            }
        }
    }

    /// The question with the time that is left, at the beginning of the last line.
    fn question(&mut self, asked: &PendingView) -> Result<(), Gone> {
        self.is_asking = true;
        self.write(&question_text(self.output.lang(), seconds_left(asked)))
    }

    /// Writes the question anew in its place; what the customer has typed stays behind it.
    fn count_down(&self, asked: &PendingView) -> Result<(), Gone> {
        if !self.moves {
            return Ok(());
        }
        let text = question_text(self.output.lang(), seconds_left(asked));
        // DECSC, to the line's beginning, DECRC.
        self.write(&format!("\x1b7\r{text}\x1b8"))
    }

    fn end_question(&mut self) -> Result<(), Gone> {
        if std::mem::take(&mut self.is_asking) {
            self.write("\n")?;
        }
        Ok(())
    }

    fn say(&self, (ja, en): Both) -> Result<(), Gone> {
        self.write(&format!("{}\n", self.output.lang().both(ja, en)))
    }

    /// With a reason, which may hold another party's text.
    fn say_because(&self, said: Both, reason: Option<(String, String)>) -> Result<(), Gone> {
        self.say(said)?;
        let Some((ja, en)) = reason else {
            return Ok(());
        };
        let (ja, en) = (format!("  {}", plain(&ja)), format!("  {}", plain(&en)));
        self.write(&format!("{}\n", self.output.lang().both(&ja, &en)))
    }

    fn write(&self, text: &str) -> Result<(), Gone> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

/// As wide at every second, so that it can be written over itself.
fn question_text(lang: Lang, seconds: u64) -> String {
    let number = lang.label(words::NUMBER.0, words::NUMBER.1);
    format!("[{seconds:>3} s] {number} > ")
}

fn seconds_left(asked: &PendingView) -> u64 {
    let exp = asked.prompt.claims.exp;
    exp.saturating_sub(clock::now().seconds())
}

fn ticking() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How a proposal ended that was not decided here.
enum Over {
    Sealed,
    Gone(Option<Reason>),
}

async fn over(events: &mut Receiver<DeviceEvent>, asked: Hash) -> Over {
    loop {
        match events.recv().await {
            Ok(DeviceEvent::Gone { hash, reason, .. }) if hash == asked => {
                return Over::Gone(reason);
            }
            Ok(DeviceEvent::Sealed { sealed, .. }) if sealed.block.hash() == asked => {
                return Over::Sealed;
            }
            // What was missed shows in what is pending, which each tick looks at.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Tells an enrolment's stages, until it is over or nobody listens.
async fn follow(mut enrolling: Enrolling, told: mpsc::Sender<EnrolStage>) {
    loop {
        let stage = enrolling.stage.borrow_and_update().clone();
        let is_over = matches!(stage, EnrolStage::Founded(_) | EnrolStage::Failed(_));
        if told.send(stage).await.is_err() || is_over || enrolling.stage.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_as_wide_at_every_second() {
        for lang in [Lang::Ja, Lang::En] {
            let width = question_text(lang, 180).chars().count();
            for seconds in [0, 9, 10, 99, 100] {
                assert_eq!(question_text(lang, seconds).chars().count(), width);
            }
        }
    }
}
