//! The login service's own look at a login of which the broker says that it is admitted.

use warifu_consensus::{
    block::Sealed,
    time::{Time, TimeError},
};

use super::{LoginService, LoginServiceError, OpenLogin};
use crate::login_service::{
    pins::{PinStore, Spending},
    state::Admission,
};
use crate::receipt::{Checked, Moment, ReceiptError, verify_logged, verify_login, verify_votes};

impl<P: PinStore> LoginService<P> {
    /// Protocol rule 6: the broker said so, and this is the login service's own look.
    pub(super) async fn admit(
        &self,
        open: &OpenLogin,
        compact: String,
        receipt: &str,
        proof: Option<String>,
    ) -> Result<Admission, LoginServiceError> {
        let customer = self.customer_of(open).await?;
        let now = (self.clock)();
        let moment = Moment::Live(now);
        let login = verify_login(&compact, &open.expected, moment)?;
        let receipt = Box::new(Sealed::from_json(receipt)?);
        if receipt.compact().as_deref() != Some(compact.as_str()) {
            return Err(LoginServiceError::Receipt);
        }
        let votes = verify_votes(&receipt, &self.voters(open.device))?;
        let logged = match (&self.log, proof) {
            (Some(keys), Some(proof)) => {
                let logged = verify_logged(&login.block, &proof, keys);
                Some((logged.map_err(ReceiptError::from)?, proof))
            }
            _ => None,
        };
        // A handle outlives no login, so that its nonce need not be remembered for longer.
        if now >= open.ends {
            let late_s = now.seconds().saturating_sub(open.ends.seconds());
            return Err(ReceiptError::Time(TimeError::Expired { late_s }).into());
        }
        self.spend(open, now).await?;
        Ok(Admission {
            customer,
            compact,
            receipt,
            login,
            account_key: open.expected.account_key,
            checked: Checked { moment, votes },
            logged,
        })
    }

    /// The customer whose pin is what the handle says. A handle comes out of a store that others
    /// may write; whose account it is, under which keys, only the pins say.
    async fn customer_of(&self, open: &OpenLogin) -> Result<String, LoginServiceError> {
        let expected = &open.expected;
        let account = expected.account;
        let altered = |what| LoginServiceError::Altered { what, account };
        let pinned = self.pins.of_account(account).await?;
        let (customer, pin) = pinned.ok_or_else(|| altered("account"))?;
        if pin.account != account {
            return Err(altered("account"));
        }
        if pin.account_key != expected.account_key {
            return Err(altered("account key"));
        }
        if pin.parties.device != open.device {
            return Err(altered("device"));
        }
        Ok(customer)
    }

    /// Uses the nonce up, for every process with the same pins where the store can.
    async fn spend(&self, open: &OpenLogin, now: Time) -> Result<(), LoginServiceError> {
        let (nonce, ends) = (open.expected.nonce.as_str(), open.ends);
        let is_first = match self.pins.spend(nonce, ends, now).await? {
            Spending::First => true,
            Spending::Again => false,
            Spending::Unkept => self.spent.spend(nonce, ends, now),
        };
        if is_first {
            return Ok(());
        }
        Err(LoginServiceError::Spent)
    }
}
