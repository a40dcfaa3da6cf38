//! This machine's clock against others': what the running node measured on the operators' own line, and
//! what a broker's HTTP side says in `Date`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use warifu_client_sdk::login_service::{
    Authorities, BrokerAddress, LoginServiceError, broker_date,
};
use warifu_consensus::time::MAX_AHEAD_S;

use super::{Patient, finding::Report};
use crate::output::Exit;

/// The metric by which an operator tells the other's clock.
const SKEW: &str = "warifu_clock_skew_seconds";

/// How long the node's own listener may take.
const LOCAL: Duration = Duration::from_secs(2);

/// Longest answer that is read, in bytes.
const MOST: u64 = 4 << 20;

pub(super) async fn check(
    patient: &Patient<'_>,
    broker: Option<&str>,
    ca: Option<&Path>,
    report: &mut Report,
) {
    let mut is_measured = false;
    if patient.is_running()
        && let Some(address) = patient.config.node.metrics
        && let Some(skew) = of_line(address)
    {
        is_measured = true;
        tell(
            skew,
            "by the operators' line, as the running node measured",
            0.5,
            report,
        );
    }
    if let Some(url) = broker {
        is_measured = true;
        match of_broker(url, ca).await {
            // Whole seconds, and half of the way there and back.
            Ok((skew, uncertain)) => {
                let how = format!("by Date of {url}, ± {uncertain:.1} s");
                tell(skew, &how, uncertain, report);
            }
            Err(error) => {
                let advice = "is the URL right, and does --ca name who vouches for it?";
                report.error(
                    "clock",
                    Exit::Unreachable,
                    error,
                    "the broker's Date",
                    advice,
                );
            }
        }
    }
    if !is_measured {
        let found = "not compared with another's";
        let advice = "name a broker by --broker URL, or set node.metrics and start the node";
        report.note("clock", found, "", advice);
    }
}

/// `skew` is the other's clock less this one's, in seconds.
fn tell(skew: f64, how: &str, uncertain: f64, report: &mut Report) {
    let most = f64::from(u32::try_from(MAX_AHEAD_S).unwrap_or(u32::MAX));
    let direction = if skew < 0.0 { "ahead" } else { "behind" };
    let found = format!("this clock is {:.1} s {direction}, {how}", skew.abs());
    let advice = "set both clocks by NTP: chronyc tracking, or timedatectl, tells which is off";
    if skew.abs() - uncertain > most {
        let expected = format!("{most} s or less: logins are refused");
        report.error("clock", Exit::Configuration, found, &expected, advice);
    } else if skew.abs() - uncertain > most / 6.0 {
        let expected = format!("much less than {most} s, from which on logins are refused");
        report.warning("clock", found, &expected, advice);
    } else {
        report.ok("clock", found);
    }
}

/// What the running node says on its own listener; `None` where it has measured nothing yet.
fn of_line(address: SocketAddr) -> Option<f64> {
    let mut stream = TcpStream::connect_timeout(&address, LOCAL).ok()?;
    stream.set_read_timeout(Some(LOCAL)).ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(MOST).read_to_string(&mut answer).ok()?;
    skew_in(&answer)
}

fn skew_in(metrics: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(SKEW))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The broker's clock less this one's in seconds, and how uncertain that is.
async fn of_broker(url: &str, ca: Option<&Path>) -> Result<(f64, f64), String> {
    let text = |error: LoginServiceError| error.to_string();
    let mut broker = BrokerAddress::new(url);
    if let Some(ca) = ca {
        broker = broker.trusting(Authorities::from_file(ca).map_err(text)?);
    }
    let before = crate::clock::now();
    let date = broker_date(&broker).await.map_err(text)?;
    let after = crate::clock::now();
    let date = httpdate::parse_http_date(&date).map_err(|_| format!("Date is {date:?}"))?;
    let since = date
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|_| "Date is before 1970".to_owned())?;
    let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
    let half = seconds(after.0.saturating_sub(before.0)) / 2.0;
    let here = seconds(before.0) + half;
    // `Date` is cut to whole seconds: half of one is the best guess.
    Ok((since.as_secs_f64() + 0.5 - here, half + 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_own_measure_is_read() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# TYPE warifu_clock_skew_seconds gauge\n\
                    warifu_clock_skew_seconds -12.5\nwarifu_other 1\n";
        assert_eq!(skew_in(text), Some(-12.5));
        assert_eq!(skew_in("warifu_other 1"), None);
    }
}
