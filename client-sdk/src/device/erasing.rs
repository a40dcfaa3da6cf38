//! Erasing an account on this device: its customer's own decision, which binds nobody else.

use warifu_consensus::{
    agree::{Output, Record},
    party::Sub,
};

use super::{Device, DeviceError};

impl Device {
    /// Forgets an account's share, content key, salts and identity key for good: a tombstone first, durably, then
    /// the vault without them. The blocks stay, and open no more; the line ends. The operators keep what they have.
    /// May be repeated.
    ///
    /// # Errors
    /// [`DeviceError::NoAccount`], [`DeviceError::Busy`], [`DeviceError::Keeper`].
    pub async fn erase(&self, account: Sub) -> Result<(), DeviceError> {
        let (keeper, accounts) = (&self.inner.keeper, &self.inner.accounts);
        if !keeper.store_has(&account)? {
            return Err(DeviceError::NoAccount { account });
        }
        if keeper.erased(&account)?.is_none() {
            let record = Record::Erased {
                erasure: None,
                both: true,
            };
            let stored = accounts.with(account, |_, _| ((), vec![Output::Store(record)]));
            stored.await.ok_or(DeviceError::NoAccount { account })?;
            // It takes no further question: when this one is not answered, the tombstone is durable.
            let answer = accounts.with(account, |_, _| ((), Vec::new())).await;
            if answer.is_some() || keeper.erased(&account)?.is_none() {
                return Err(DeviceError::Busy);
            }
        }
        self.inner.lines.end(&account).await;
        keeper.forget_erased(&[account]).await?;
        Ok(())
    }
}
