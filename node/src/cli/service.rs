//! What the login service's commands share: where the broker is, whose customer, and how each
//! error ends the process.

use std::path::PathBuf;

use clap::Args;
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_client_sdk::login_service::{
    Authorities, BrokerAddress, LoginService, LoginServiceError, Pin, PinError, PinStore,
    SqlitePins, Token,
};
use warifu_consensus::{log::LogKeys, party::Sub};

use crate::config::{read_ledger, read_log_keys};
use crate::output::{Exit, Failure};

/// How to reach the broker, and what this login service knows by itself.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// The broker's HTTP side: https:// and its name, or http:// and a loopback address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7201")]
    broker: String,
    /// Certificate authorities that vouch for the broker, PEM [default: those of this system].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File with this login service's token (mode 0600).
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The ledger's keys: ledger.toml.
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// This login service's pins, customer to account (SQLite; made when missing).
    #[arg(long, value_name = "FILE")]
    pins: PathBuf,
    /// This login service's own name, as its blocks say [default: the ledger's origin].
    #[arg(long)]
    aud: Option<String>,
}

impl Connection {
    pub(super) async fn open(&self) -> Result<LoginService<SqlitePins>, Failure> {
        let configuration =
            |error: &dyn std::error::Error| Failure::from_error(Exit::Configuration, error);
        let token = Token::from_file(&self.token_file).map_err(|error| configuration(&error))?;
        let ledger = read_ledger(&self.ledger).map_err(|error| configuration(&error))?;
        let aud = self.aud.clone().unwrap_or_else(|| ledger.iss.clone());
        let mut broker = BrokerAddress::new(&self.broker);
        if let Some(ca) = &self.ca {
            broker = broker.trusting(Authorities::from_file(ca).map_err(failure)?);
        }
        let pins = SqlitePins::open(&self.pins)
            .await
            .map_err(|error| failure(error.into()))?;
        LoginService::new(broker, token, ledger, aud, pins).map_err(failure)
    }

    /// What verifies the log's proofs.
    pub(super) fn log_keys(&self) -> Result<LogKeys, Failure> {
        read_log_keys(&self.ledger)
            .map_err(|error| Failure::from_error(Exit::Configuration, &error))
    }
}

/// Whose account: by this login service's customer id, or by the account's name. Both must be
/// pinned.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whose {
    /// The customer's id at this login service.
    #[arg(long)]
    customer: Option<String>,
    /// The account: 22 characters of base64url.
    #[arg(long, value_name = "SUB", allow_hyphen_values = true)]
    account: Option<Sub>,
}

impl Whose {
    pub(super) async fn pin<P: PinStore>(&self, service: &LoginService<P>) -> Result<Pin, Failure> {
        if let Some(customer) = &self.customer {
            return service.pin_of(customer).await.map_err(failure);
        }
        let missing = || Failure::new(Exit::Usage, "expected --customer or --account");
        let account = self.account.ok_or_else(missing)?;
        let pin = service
            .pins()
            .of_account(account)
            .await
            .map_err(|error| failure(error.into()))?;
        pin.map(|(_, pin)| pin).ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                format!("account {account} is pinned to no customer"),
            )
        })
    }
}

/// How an error of the login service ends the process.
pub(super) fn failure(error: LoginServiceError) -> Failure {
    let exit = match &error {
        LoginServiceError::BaseUrl { .. } => Exit::Usage,
        LoginServiceError::Authorities { .. } => Exit::Configuration,
        LoginServiceError::Unreachable { .. } | LoginServiceError::Undecided { .. } => {
            Exit::Unreachable
        }
        LoginServiceError::Problem(problem) => problem_exit(problem.kind()),
        LoginServiceError::Answer { .. } | LoginServiceError::Newer { .. } => Exit::Input,
        LoginServiceError::Pin(error) => match error {
            PinError::Pinned { .. } | PinError::Taken { .. } => Exit::Refused,
            PinError::Customer { .. } => Exit::Input,
            PinError::Store { .. } => Exit::Io,
            PinError::Damaged { .. } | PinError::Version { .. } => Exit::Configuration,
        },
        LoginServiceError::Setup { .. } | LoginServiceError::Entropy { .. } => Exit::Io,
        LoginServiceError::NotPinned { .. }
        | LoginServiceError::AlreadyPinned { .. }
        | LoginServiceError::Foreign { .. }
        | LoginServiceError::Altered { .. }
        | LoginServiceError::Spent
        | LoginServiceError::Verification(_)
        | LoginServiceError::Receipt
        | LoginServiceError::Sealed(_)
        | LoginServiceError::Genesis(_)
        | LoginServiceError::History(_) => Exit::Refused,
    };
    Failure::new(exit, error.to_string())
}

fn problem_exit(kind: Option<ProblemKind>) -> Exit {
    match kind {
        Some(ProblemKind::NotAuthenticated | ProblemKind::Scope) => Exit::Configuration,
        Some(
            ProblemKind::TrustOperatorUnreachable | ProblemKind::Stopping | ProblemKind::Internal,
        ) => Exit::Unreachable,
        Some(ProblemKind::Malformed | ProblemKind::TooLarge) => Exit::Input,
        _ => Exit::Refused,
    }
}
