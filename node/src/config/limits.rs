//! `[broker.limits]`: how much login services and their customers may ask for (protocol rule 10).

use serde::Deserialize;

use super::file::Writer;
use super::{Check, ConfigError};
use crate::api::Limits;

/// The table as it stands in the file; an absent field has its default.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsTable {
    /// Begins of one caller in a minute.
    pub begins_per_minute_per_caller: u32,
    /// Begins on one account in a minute.
    pub begins_per_minute_per_account: u32,
    /// Begins from one network of customers in a minute.
    pub begins_per_minute_per_network: u32,
    /// Begins of an unfreeze, of one caller in a minute.
    pub unfreezes_per_minute_per_caller: u32,
    /// Begins of an unfreeze of one frozen account in a minute.
    pub unfreezes_per_minute_per_account: u32,
    /// Requests that wait at the same time.
    pub waits: u32,
    /// Connections at the same time.
    pub connections: u32,
    /// Connections from one network of callers at the same time.
    pub connections_per_network: u32,
}

impl Default for LimitsTable {
    fn default() -> LimitsTable {
        let limits = Limits::default();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        LimitsTable {
            begins_per_minute_per_caller: limits.begins_per_minute_per_caller,
            begins_per_minute_per_account: limits.begins_per_minute_per_account,
            begins_per_minute_per_network: limits.begins_per_minute_per_network,
            unfreezes_per_minute_per_caller: limits.unfreezes_per_minute_per_caller,
            unfreezes_per_minute_per_account: limits.unfreezes_per_minute_per_account,
            waits: count(limits.waits),
            connections: count(limits.connections),
            connections_per_network: count(limits.connections_per_network),
        }
    }
}

impl LimitsTable {
    /// Name, meaning and value of each field.
    fn fields(&self) -> [(&'static str, &'static str, u32); 8] {
        [
            (
                "begins_per_minute_per_caller",
                "Begins (logins, enrolments) of one caller in a minute",
                self.begins_per_minute_per_caller,
            ),
            (
                "begins_per_minute_per_account",
                "Begins on one account in a minute",
                self.begins_per_minute_per_account,
            ),
            (
                "begins_per_minute_per_network",
                "Begins from one network of customers (/24, /56) in a minute, where client_ip is given",
                self.begins_per_minute_per_network,
            ),
            (
                "unfreezes_per_minute_per_caller",
                "Unfreezes that one caller begins in a minute; freezes are not counted",
                self.unfreezes_per_minute_per_caller,
            ),
            (
                "unfreezes_per_minute_per_account",
                "Unfreezes of one account that are begun in a minute",
                self.unfreezes_per_minute_per_account,
            ),
            (
                "waits",
                "Requests that wait (wait=30) at the same time, of all callers",
                self.waits,
            ),
            (
                "connections",
                "Connections at the same time",
                self.connections,
            ),
            (
                "connections_per_network",
                "Connections at the same time from one network of callers, loopback aside",
                self.connections_per_network,
            ),
        ]
    }

    pub(super) fn render(&self, out: &mut Writer) {
        out.table(
            "broker.limits",
            "Beyond these the HTTP side answers 429 and says when to come back.",
        );
        let defaults = LimitsTable::default().fields();
        for ((name, about, value), (_, _, default)) in self.fields().into_iter().zip(defaults) {
            let about = format!("{about} (default {default}).");
            out.field(&about, name, value.to_string());
        }
    }
}

impl Check<'_> {
    /// Every limit lets something through, and none contradicts another.
    pub(super) fn limits(&self, table: &LimitsTable) -> Result<Limits, ConfigError> {
        for (name, _, value) in table.fields() {
            if value == 0 {
                let field = format!("broker.limits.{name}");
                return Err(self.field(field, "0", "1 or more"));
            }
        }
        for (name, found) in [
            ("connections_per_network", table.connections_per_network),
            ("waits", table.waits),
        ] {
            if found > table.connections {
                let expected = format!("at most connections, {}", table.connections);
                let field = format!("broker.limits.{name}");
                return Err(self.field(field, found.to_string(), expected));
            }
        }
        if table.begins_per_minute_per_account > table.begins_per_minute_per_caller {
            let found = table.begins_per_minute_per_account.to_string();
            let most = table.begins_per_minute_per_caller;
            let expected = format!("at most begins_per_minute_per_caller, {most}");
            let field = "broker.limits.begins_per_minute_per_account";
            return Err(self.field(field, found, expected));
        }
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Limits {
            begins_per_minute_per_caller: table.begins_per_minute_per_caller,
            begins_per_minute_per_account: table.begins_per_minute_per_account,
            begins_per_minute_per_network: table.begins_per_minute_per_network,
            unfreezes_per_minute_per_caller: table.unfreezes_per_minute_per_caller,
            unfreezes_per_minute_per_account: table.unfreezes_per_minute_per_account,
            waits: count(table.waits),
            connections: count(table.connections),
            connections_per_network: count(table.connections_per_network),
            ..Limits::default()
        })
    }
}
