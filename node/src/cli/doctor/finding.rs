//! One thing that was looked at, and all of them together.

use serde::Serialize;

use crate::output::{Exit, Failure, Output, Style};

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As expected.
    Ok,
    /// Worth knowing, nothing to mend.
    Note,
    /// Works now; mend it.
    Warning,
    /// Does not work.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }

    const fn style(self) -> Style {
        match self {
            Level::Ok => Style::Good,
            Level::Note => Style::Faint,
            Level::Warning => Style::Warning,
            Level::Error => Style::Bad,
        }
    }
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    expected: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    advice: String,
    #[serde(skip)]
    exit: Exit,
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

impl Report {
    pub(super) fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Level::Ok, Exit::Ok, found.into(), "", "");
    }

    pub(super) fn note(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        expected: &str,
        advice: &str,
    ) {
        self.add(check, Level::Note, Exit::Ok, found.into(), expected, advice);
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        expected: &str,
        advice: &str,
    ) {
        self.add(
            check,
            Level::Warning,
            Exit::Refused,
            found.into(),
            expected,
            advice,
        );
    }

    pub(super) fn error(
        &mut self,
        check: &'static str,
        exit: Exit,
        found: impl Into<String>,
        expected: &str,
        advice: &str,
    ) {
        self.add(check, Level::Error, exit, found.into(), expected, advice);
    }

    fn add(
        &mut self,
        check: &'static str,
        level: Level,
        exit: Exit,
        found: String,
        expected: &str,
        advice: &str,
    ) {
        self.0.push(Finding {
            check,
            level,
            found,
            expected: expected.to_owned(),
            advice: advice.to_owned(),
            exit,
        });
    }

    /// Prints all of them; fails with the worst one's exit code.
    pub(super) fn print(self, output: Output) -> Result<(), Failure> {
        output.print(&self.0, || self.text(output))?;
        let worst = self.0.iter().map(|finding| finding.level).max();
        let count = |level| self.0.iter().filter(|f| f.level == level).count();
        let (errors, warnings) = (count(Level::Error), count(Level::Warning));
        let first = self.0.iter().find(|f| Some(f.level) == worst);
        match first {
            Some(finding) if finding.level >= Level::Warning => Err(Failure::new(
                finding.exit,
                format!(
                    "found {errors} error{} and {warnings} warning{}",
                    plural(errors),
                    plural(warnings)
                ),
            )),
            _ => Ok(()),
        }
    }

    fn text(&self, output: Output) -> String {
        let mut lines = Vec::new();
        for finding in &self.0 {
            // Padded first: colour codes have no width.
            let level = output.paint(finding.level.style(), format!("{:7}", finding.level.name()));
            lines.push(format!("{level}  {:11}  {}", finding.check, finding.found));
            let indent = " ".repeat(22);
            if !finding.expected.is_empty() {
                lines.push(format!("{indent}expected {}", finding.expected));
            }
            if !finding.advice.is_empty() {
                lines.push(format!("{indent}do: {}", finding.advice));
            }
        }
        lines.join("\n")
    }
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
