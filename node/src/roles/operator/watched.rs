//! What of an operator is watched: readiness, and the gauges.

use warifu_client_sdk::runtime::Machine;
use warifu_consensus::party::{Role, Sub};

use super::Operator;
use crate::{observe::Watched, output::role_name};

impl<M: Machine> Watched for Operator<M> {
    fn readiness(&self) -> Result<(), String> {
        if !self.keeper.store().is_running() {
            return Err("the journal has stopped: a write or sync failed".to_owned());
        }
        let other = self.directory.other();
        let peer = self.directory.peer(&Sub::ZERO, other);
        if peer.and_then(|peer| self.lines.session_of(&peer)).is_none() {
            return Err(format!("the line to the {other} is down"));
        }
        Ok(())
    }

    fn gauges(&self) {
        let set = |name: &'static str, value: f64| metrics::gauge!(name).set(value);
        let one = |is: bool| if is { 1.0 } else { 0.0 };
        set("warifu_ready", one(self.readiness().is_ok()));
        let store = self.keeper.store();
        set("warifu_store_running", one(store.is_running()));
        set("warifu_disk_free_bytes", float(store.free_bytes()));
        set("warifu_log_size", float(self.log.state().size));
        let cosigned = *self.log.watch().borrow();
        set("warifu_log_cosigned_size", float(cosigned));
        set("warifu_accounts", float(self.directory.accounts() as u64));
        let loaded = self.accounts.loaded().len();
        set("warifu_accounts_loaded", float(loaded as u64));
        let (mut devices, mut strangers, mut others) = (0, 0, 0);
        for peer in self.lines.peers() {
            if self.directory.is_other(&peer) {
                others += 1;
            } else if self.directory.account_of(&peer).is_some() {
                devices += 1;
            } else {
                strangers += 1;
            }
        }
        let connected = |role: &'static str, count: u32| {
            metrics::gauge!("warifu_peers_connected", "role" => role).set(f64::from(count));
        };
        connected(role_name(self.directory.other()), others);
        connected(role_name(Role::Device), devices);
        connected("stranger", strangers);
    }

    fn measure(&self) {
        let other = self.directory.peer(&Sub::ZERO, self.directory.other());
        if let Some(peer) = other.filter(|peer| self.lines.session_of(peer).is_some())
            && let Some(frame) = self.skew.ask((self.clock)())
        {
            self.lines.send_to(peer, frame);
        }
    }
}

/// Exact up to 2⁵³, and near enough above.
#[expect(clippy::cast_precision_loss, reason = "a gauge is read by people")]
fn float(value: u64) -> f64 {
    value as f64
}
