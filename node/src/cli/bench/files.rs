//! How many files a process of the bench may have open. The limit is raised as far as the system
//! lets it without being asked; children inherit it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::output::{Exit, Failure};

/// Files of one device: journal and vault, a lock each, the line, and one to spare for the line to
/// the trust operator while it enrols.
const PER_DEVICE: u64 = 6;
/// Files of anything else.
const OTHERS: u64 = 512;

/// Lets processes open what this many devices need.
pub(super) fn allow(devices: usize) -> Result<(), Failure> {
    let devices = u64::try_from(devices).unwrap_or(u64::MAX);
    let wanted = devices.saturating_mul(PER_DEVICE).saturating_add(OTHERS);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = match limit.maximum {
        Some(maximum) => wanted.min(maximum),
        None => wanted,
    };
    let new = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, new).map_err(|error| Failure::from_error(Exit::Io, &error))?;
    if raised >= wanted {
        return Ok(());
    }
    let text = format!(
        "{devices} devices need {wanted} open files in one process, {raised} are allowed: raise the \
         hard limit (ulimit -Hn, LimitNOFILE) or take fewer devices"
    );
    Err(Failure::new(Exit::Configuration, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_system_allows_is_refused_with_both_numbers() {
        allow(1).unwrap();
        let Some(maximum) = getrlimit(Resource::Nofile).maximum else {
            return;
        };
        let failure = allow(usize::try_from(maximum).unwrap()).unwrap_err();
        assert!(failure.message.contains(&maximum.to_string()), "{failure}");
        assert_eq!(failure.exit, Exit::Configuration);
    }
}
