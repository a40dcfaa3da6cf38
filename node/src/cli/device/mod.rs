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
    roles::device::reply::two_digits,
    words::{self, Both},
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
        /// The login page's number, both digits (07, not 7): there is one try. Asked for on the
        /// terminal if left out.
        #[arg(long, value_name = "NN", allow_hyphen_values = true)]
        number: Option<String>,
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
    /// Erase an account on this device for good: its share and all keys are forgotten, its blocks open no more.
    Erase {
        /// The account, in full: nothing undoes it.
        #[arg(allow_hyphen_values = true)]
        account: String,
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
            Command::Erase { account } => device.erase(account).await,
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
            Ok(Answer::Refused(refusal)) => Err(refused(refusal, self.output)),
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
        let names = pending.iter().map(|one| one.proposal.as_str()).collect();
        self.only_one(names, wanted.as_deref(), &PROPOSALS)?;
        pending
            .pop()
            .ok_or_else(|| self.none(wanted.as_deref(), &PROPOSALS))
    }

    /// The account named so, or the only one.
    async fn account(&self, wanted: Option<String>) -> Result<String, Failure> {
        let mut accounts = self.all_accounts().await?;
        if let Some(wanted) = &wanted {
            accounts.retain(|one| one.account.starts_with(wanted.as_str()));
        }
        let names = accounts.iter().map(|one| one.account.as_str()).collect();
        self.only_one(names, wanted.as_deref(), &ACCOUNTS)?;
        let account = accounts.pop().map(|one| one.account);
        account.ok_or_else(|| self.none(wanted.as_deref(), &ACCOUNTS))
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

    async fn approve(
        &self,
        proposal: Option<String>,
        number: Option<String>,
    ) -> Result<(), Failure> {
        // There is one try: what is no clear answer is never sent, and nobody is asked for it.
        let unclear = |exit| {
            self.output
                .failure(exit, words::TWO_DIGITS.0, words::TWO_DIGITS.1)
        };
        let given = number.map(|text| two_digits(&text).ok_or_else(|| unclear(Exit::Usage)));
        let given = given.transpose()?;
        let pending = self.proposal(proposal).await?;
        self.output.say(&words::proposal(&pending, self.output))?;
        let number = match given {
            Some(number) => number,
            None => two_digits(&ask_number(self.output)?).ok_or_else(|| unclear(Exit::Input))?,
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

    async fn erase(&self, account: String) -> Result<(), Failure> {
        let erased = match self.ask(Request::Erase { account }).await? {
            Answer::Erased(account) => account,
            other => return Err(unexpected(&other)),
        };
        let output = self.output;
        output.print(&serde_json::json!({ "erased": erased }), || {
            let text = output.lang().both(words::ERASED.0, words::ERASED.1);
            format!("{text}\n({erased})")
        })
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
                let en = decision.reason.as_deref().unwrap_or("no reason given");
                let ja = match (&decision.reason_ja, &decision.reason) {
                    (Some(ja), _) => ja,
                    (None, Some(en)) => en,
                    (None, None) => "理由は示されていません",
                };
                return Err(self.output.failure(
                    Exit::Refused,
                    &format!("承認されませんでした: {ja}"),
                    &format!("refused: {en}"),
                ));
            }
        };
        let output = self.output;
        output.print(decision, || {
            let text = output.lang().both(ja, en);
            match decision.height {
                Some(height) => {
                    let label = output.lang().label(words::HEIGHT.0, words::HEIGHT.1);
                    format!("{text}\n({}, {label} {height})", decision.account)
                }
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

/// What a command names one of, in both languages.
struct Named {
    one: Both,
    many: Both,
    /// Where it was looked for.
    place: Both,
    /// Said when there is none at all.
    none: Both,
}

const PROPOSALS: Named = Named {
    one: ("確認", "proposal"),
    many: ("件の確認", "proposals"),
    place: ("確認待ちの中に", "pending"),
    none: words::NOTHING,
};

const ACCOUNTS: Named = Named {
    one: ("口座", "account"),
    many: ("個の口座", "accounts"),
    place: ("この端末に", "on this device"),
    none: words::NO_ACCOUNT,
};

impl Device {
    fn none(&self, wanted: Option<&str>, what: &Named) -> Failure {
        let (one, place) = (what.one, what.place);
        let (ja, en) = match wanted {
            Some(wanted) => (
                format!("{}{} {wanted} はありません。", place.0, one.0),
                format!("no {} {wanted} is {}", one.1, place.1),
            ),
            None => (what.none.0.to_owned(), what.none.1.to_owned()),
        };
        self.output.failure(Exit::Refused, &ja, &en)
    }

    /// Refuses to choose among several.
    fn only_one(
        &self,
        names: Vec<&str>,
        wanted: Option<&str>,
        what: &Named,
    ) -> Result<(), Failure> {
        if names.is_empty() {
            return Err(self.none(wanted, what));
        }
        if names.len() == 1 {
            return Ok(());
        }
        let (count, names) = (names.len(), names.join(", "));
        let (many, place) = (what.many, what.place);
        Err(self.output.failure(
            Exit::Usage,
            &format!(
                "{}{count}{}があります。一つを指定してください: {names}",
                place.0, many.0
            ),
            &format!(
                "{count} {} are {}, expected one: name one of {names}",
                many.1, place.1
            ),
        ))
    }
}

fn ask_number(output: Output) -> Result<String, Failure> {
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
    Ok(line)
}

fn refused(refusal: RefusalView, output: Output) -> Failure {
    let exit = match refusal.kind {
        RefusalKind::Malformed => Exit::Input,
        RefusalKind::Unknown | RefusalKind::Rule => Exit::Refused,
        RefusalKind::Unreachable => Exit::Unreachable,
    };
    match &refusal.reason_ja {
        Some(ja) => output.failure(exit, ja, &refusal.reason),
        None => Failure::new(exit, refusal.reason),
    }
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
        Answer::Erased(_) => "erased",
        Answer::History(_) => "history",
        Answer::Refused(_) => "refused",
    };
    let text = format!("the device answered with {name}: it is another release than this command");
    Failure::new(Exit::Unreachable, text)
}
