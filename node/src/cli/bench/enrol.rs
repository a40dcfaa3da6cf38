//! Enrols every device as a customer would: ticket, key generation, six digits, pin. No shortcut,
//! only several at once.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use warifu_client_sdk::login_service::{EnrolmentEnd, LoginService, MemoryPins, Pin};

use super::{customers::Customers, progress};
use crate::output::{Exit, Failure};

/// Enrolments at once: each keeps two strangers' places at the operators.
const AT_ONCE: usize = 8;
/// Between two looks at an enrolment that waits.
const LOOK: Duration = Duration::from_millis(20);
/// How long one look may wait.
const WAIT: Duration = Duration::from_secs(10);
/// How long an enrolment may take.
const LONGEST: Duration = Duration::from_secs(120);

/// The bench's login services. An account belongs to one of them, in turn.
pub(super) type Services = Arc<Vec<LoginService<MemoryPins>>>;

/// The login service of a device's account.
pub(super) fn service_of(services: &Services, device: usize) -> Option<&LoginService<MemoryPins>> {
    services.get(device.checked_rem(services.len())?)
}

/// Enrols devices 0 to `devices`; gives their accounts in this order.
pub(super) async fn enrol_all(
    services: &Services,
    customers: &Arc<Customers>,
    devices: usize,
) -> Result<Vec<Pin>, Failure> {
    let bar = progress("enrolments", devices);
    let mut pins = vec![None; devices];
    let mut running = JoinSet::new();
    let mut waiting = 0..devices;
    loop {
        while running.len() < AT_ONCE
            && let Some(device) = waiting.next()
        {
            let (services, customers) = (Arc::clone(services), Arc::clone(customers));
            running.spawn(async move {
                let enrolled = tokio::time::timeout(LONGEST, one(&services, &customers, device));
                let late = |_| format!("not done within {} s", LONGEST.as_secs());
                (device, enrolled.await.map_err(late).flatten())
            });
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        let (device, enrolled) = ended.map_err(|error| Failure::from_error(Exit::Io, &error))?;
        let pin = enrolled.map_err(|reason| {
            Failure::new(
                Exit::Refused,
                format!("device {device} was not enrolled: {reason}"),
            )
        })?;
        if let Some(place) = pins.get_mut(device) {
            *place = Some(pin);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(pins.into_iter().flatten().collect())
}

async fn one(services: &Services, customers: &Customers, device: usize) -> Result<Pin, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let service = service_of(services, device).ok_or("there is no login service")?;
    let customer = format!("customer {device}");
    let opened = service.enrol(Some(&customer)).await.map_err(|e| text(&e))?;
    let digits = customers.scan(device, &opened.ticket_uri).await?;
    let mut is_sent = false;
    loop {
        let state = service.enrolment(&customer, &opened.session, WAIT).await;
        let state = match state.map_err(|e| text(&e))? {
            EnrolmentEnd::Digits if !is_sent => {
                is_sent = true;
                let confirmed = service.confirm(&customer, &opened.session, &digits).await;
                confirmed.map_err(|e| text(&e))?
            }
            state => state,
        };
        match state {
            EnrolmentEnd::Pinned { pin, .. } => return Ok(pin),
            EnrolmentEnd::Failed { reason } => return Err(reason),
            EnrolmentEnd::Waiting | EnrolmentEnd::Digits => tokio::time::sleep(LOOK).await,
        }
    }
}
