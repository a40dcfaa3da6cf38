//! `warifu device`: the customer's side, spoken to a running device over its control channel.
//!
//! Decides what the customer is shown and asked, never what is signed: that is the running
//! device's. The kind and the relying party come first, in this program's own words; what the
//! broker states comes after, and is called so.

mod enrol;

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
};

use crate::{
    config::{Config, RoleConfig},
    control::{
        AccountView, Answer, ControlClient, ControlError, DecisionState, DecisionView, PendingView,
        RefusalKind, RefusalView, Request,
    },
    output::{Exit, Failure, Output, role_name},
    words,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The device's directory.
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Enrol with the ticket that the login service shows; prints six digits to type into its page.
    Enrol(enrol::Args),
    /// Show what waits for a decision.
    Pending,
    /// Approve a proposal by the number on the login page.
    Approve {
        /// The proposal's hash or its beginning; may be left out if just one is pending.
        #[arg(allow_hyphen_values = true)]
        proposal: Option<String>,
        /// The two-digit number that the login page shows; asked for on the terminal if left out.
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=99))]
        number: Option<u8>,
    },
    /// Deny a proposal.
    Deny {
        /// The proposal's hash or its beginning; may be left out if just one is pending.
        #[arg(allow_hyphen_values = true)]
        proposal: Option<String>,
        /// It wasn't me: freeze the account too.
        #[arg(long)]
        not_me: bool,
    },
    /// Freeze an account: nothing is admitted until it is unfrozen after re-identification.
    Freeze {
        /// The account; may be left out if the device has just one.
        #[arg(allow_hyphen_values = true)]
        account: Option<String>,
    },
    /// An account's blocks, newest first.
    History {
        /// The account; may be left out if the device has just one.
        #[arg(allow_hyphen_values = true)]
        account: Option<String>,
    },
    /// All accounts of this device.
    Accounts,
}

pub(super) fn run(args: Args, output: Output) -> Result<(), Failure> {
    let config = Config::load(&args.dir)
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    let RoleConfig::Device(device) = &config.role else {
        let text = format!(
            "{} belongs to a {}, expected a device",
            args.dir.display(),
            role_name(config.role())
        );
        return Err(Failure::new(Exit::Configuration, text));
    };
    super::block_on(async {
        let client = ControlClient::new(&device.control);
        let device = Device { client, output };
        match args.command {
            Command::Enrol(args) => enrol::run(&device, args).await,
            Command::Pending => device.pending().await,
            Command::Approve { proposal, number } => device.approve(proposal, number).await,
            Command::Deny { proposal, not_me } => device.deny(proposal, not_me).await,
            Command::Freeze { account } => device.freeze(account).await,
            Command::History { account } => device.history(account).await,
            Command::Accounts => device.accounts().await,
        }
    })
}

/// The running device, as a command sees it.
struct Device {
    client: ControlClient,
    output: Output,
}

impl Device {
    async fn ask(&self, request: Request) -> Result<Answer, Failure> {
        match self.client.ask(&request).await {
            Ok(Answer::Refused(refusal)) => Err(refused(refusal)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(channel(&error)),
        }
    }

    async fn all_pending(&self) -> Result<Vec<PendingView>, Failure> {
        match self.ask(Request::Pending).await? {
            Answer::Pending(pending) => Ok(pending),
            other => Err(unexpected(&other)),
        }
    }

    async fn all_accounts(&self) -> Result<Vec<AccountView>, Failure> {
        match self.ask(Request::Accounts).await? {
            Answer::Accounts(accounts) => Ok(accounts),
            other => Err(unexpected(&other)),
        }
    }

    /// The proposal whose hash begins so, or the only one.
    async fn proposal(&self, wanted: Option<String>) -> Result<PendingView, Failure> {
        let mut pending = self.all_pending().await?;
        if let Some(wanted) = &wanted {
            pending.retain(|one| one.proposal.starts_with(wanted.as_str()));
        }
        only(pending, wanted.as_deref(), "proposal", "pending", |one| {
            &one.proposal
        })
    }

    /// The account named so, or the only one.
    async fn account(&self, wanted: Option<String>) -> Result<String, Failure> {
        let mut accounts = self.all_accounts().await?;
        if let Some(wanted) = &wanted {
            accounts.retain(|one| one.account.starts_with(wanted.as_str()));
        }
        let account = only(
            accounts,
            wanted.as_deref(),
            "account",
            "on this device",
            |one| &one.account,
        )?;
        Ok(account.account)
    }

    async fn pending(&self) -> Result<(), Failure> {
        let pending = self.all_pending().await?;
        let output = self.output;
        output.print(&pending, || {
            if pending.is_empty() {
                return output.lang().both(words::NOTHING.0, words::NOTHING.1);
            }
            let texts: Vec<String> = pending
                .iter()
                .map(|one| words::proposal(one, output))
                .collect();
            texts.join("\n\n")
        })
    }

    async fn approve(&self, proposal: Option<String>, number: Option<u8>) -> Result<(), Failure> {
        let pending = self.proposal(proposal).await?;
        self.output.say(&words::proposal(&pending, self.output))?;
        let number = match number {
            Some(number) => number,
            None => ask_number(self.output)?,
        };
        let proposal = pending.proposal.clone();
        let request = Request::Approve { proposal, number };
        let decision = self.decide(request).await?;
        self.tell(&decision, words::APPROVED, words::SENT)
    }

    async fn deny(&self, proposal: Option<String>, not_me: bool) -> Result<(), Failure> {
        let pending = self.proposal(proposal).await?;
        let proposal = pending.proposal;
        let decision = self.decide(Request::Deny { proposal, not_me }).await?;
        let told = if not_me {
            words::DISOWNED
        } else {
            words::DENIED
        };
        self.tell(&decision, told, told)
    }

    async fn freeze(&self, account: Option<String>) -> Result<(), Failure> {
        let account = self.account(account).await?;
        let decision = self.decide(Request::Freeze { account }).await?;
        self.tell(&decision, words::FROZEN, words::FREEZING)
    }

    async fn decide(&self, request: Request) -> Result<DecisionView, Failure> {
        match self.ask(request).await? {
            Answer::Decided(decision) => Ok(decision),
            other => Err(unexpected(&other)),
        }
    }

    fn tell(
        &self,
        decision: &DecisionView,
        sealed: (&str, &str),
        sent: (&str, &str),
    ) -> Result<(), Failure> {
        let (ja, en) = match decision.state {
            DecisionState::Sealed => sealed,
            DecisionState::Sent => sent,
            DecisionState::Refused => {
                let reason = decision.reason.as_deref().unwrap_or("no reason given");
                return Err(Failure::new(Exit::Refused, format!("refused: {reason}")));
            }
        };
        let output = self.output;
        output.print(decision, || {
            let text = output.lang().both(ja, en);
            match decision.height {
                Some(height) => format!("{text}\n({}, height {height})", decision.account),
                None => text,
            }
        })
    }

    async fn history(&self, account: Option<String>) -> Result<(), Failure> {
        let account = self.account(account).await?;
        let request = Request::History { account };
        let blocks = match self.ask(request).await? {
            Answer::History(blocks) => blocks,
            other => return Err(unexpected(&other)),
        };
        self.output.print(&blocks, || {
            let lines: Vec<String> = blocks.iter().map(words::history).collect();
            lines.join("\n")
        })
    }

    async fn accounts(&self) -> Result<(), Failure> {
        let accounts = self.all_accounts().await?;
        let output = self.output;
        output.print(&accounts, || {
            if accounts.is_empty() {
                return output.lang().both(words::NO_ACCOUNT.0, words::NO_ACCOUNT.1);
            }
            let lines: Vec<String> = accounts
                .iter()
                .map(|account| words::account(account, output))
                .collect();
            lines.join("\n")
        })
    }
}

/// The one that was found; says how many there are otherwise.
fn only<T>(
    mut found: Vec<T>,
    wanted: Option<&str>,
    what: &str,
    place: &str,
    name: impl Fn(&T) -> &String,
) -> Result<T, Failure> {
    if found.len() <= 1 {
        return found.pop().ok_or_else(|| {
            let named = wanted
                .map(|wanted| format!(" {wanted}"))
                .unwrap_or_default();
            Failure::new(Exit::Refused, format!("no {what}{named} is {place}"))
        });
    }
    let names: Vec<&str> = found.iter().map(|one| name(one).as_str()).collect();
    let text = format!(
        "{} {what}s are {place}, expected one: name one of {}",
        names.len(),
        names.join(", ")
    );
    Err(Failure::new(Exit::Usage, text))
}

fn ask_number(output: Output) -> Result<u8, Failure> {
    let stdin = io::stdin();
    if output.is_json() || !stdin.is_terminal() {
        let text = "--number is missing, and there is no terminal to ask on";
        return Err(Failure::new(Exit::Usage, text));
    }
    let failed = |error: io::Error| Failure::from_error(Exit::Io, &error);
    let question = output.lang().both(words::ASK_NUMBER.0, words::ASK_NUMBER.1);
    print!("{question}\n> ");
    io::stdout().flush().map_err(failed)?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(failed)?;
    let text = line.trim();
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| {
        Failure::new(
            Exit::Input,
            "expected a number of two digits, nothing was sent",
        )
    })
}

fn refused(refusal: RefusalView) -> Failure {
    let exit = match refusal.kind {
        RefusalKind::Malformed => Exit::Input,
        RefusalKind::Unknown | RefusalKind::Rule => Exit::Refused,
        RefusalKind::Unreachable => Exit::Unreachable,
    };
    Failure::new(exit, refusal.reason)
}

fn channel(error: &ControlError) -> Failure {
    let exit = match error {
        ControlError::NotRunning { .. } => Exit::Unreachable,
        _ => Exit::Io,
    };
    Failure::from_error(exit, error)
}

fn unexpected(answer: &Answer) -> Failure {
    let name = match answer {
        Answer::Enrolment(_) => "enrolment",
        Answer::Accounts(_) => "accounts",
        Answer::Pending(_) => "pending",
        Answer::Decided(_) => "decided",
        Answer::History(_) => "history",
        Answer::Refused(_) => "refused",
    };
    let text = format!("the device answered with {name}: it is another release than this command");
    Failure::new(Exit::Unreachable, text)
}
