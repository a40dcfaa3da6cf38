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
            let stored = accounts.perform(account, |_, _| ((), vec![Output::Store(record)]));
            let stored = stored.await.map_err(|_| DeviceError::Busy)?;
            // Not stored: there is no such account, or it was erased before this one's turn came.
            if stored.is_none() && keeper.erased(&account)?.is_none() {
                return Err(DeviceError::NoAccount { account });
            }
        }
        self.inner.lines.end(&account).await;
        keeper.forget_erased(&[account]).await?;
        Ok(())
    }
}
