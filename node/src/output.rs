//! How every command speaks: for people by default, JSON with `--json`, and one set of exit codes.
//!
//! Answers go to stdout, errors and progress to stderr. Colours only on a terminal without
//! `NO_COLOR`. Never prints a secret: callers hand over what may be shown.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use serde::Serialize;
use warifu_consensus::party::Role;

/// Exit codes of every command (docs and `--help` list them from here).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// 0: done, or verified.
    Ok = 0,
    /// 1: refused by a party, or a verification failed.
    Refused = 1,
    /// 2: the command line is wrong.
    Usage = 2,
    /// 3: configuration, keys or files of a directory are wrong or contradict.
    Configuration = 3,
    /// 4: a node, a device or an operator could not be reached.
    Unreachable = 4,
    /// 5: an input file or text is not what it should be.
    Input = 5,
    /// 6: reading or writing a file or a terminal failed.
    Io = 6,
}

impl Exit {
    /// All codes in order.
    pub const ALL: [Exit; 7] = [
        Exit::Ok,
        Exit::Refused,
        Exit::Usage,
        Exit::Configuration,
        Exit::Unreachable,
        Exit::Input,
        Exit::Io,
    ];

    /// The code's name in JSON errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Refused => "refused",
            Exit::Usage => "usage",
            Exit::Configuration => "configuration",
            Exit::Unreachable => "unreachable",
            Exit::Input => "input",
            Exit::Io => "io",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "done, or verified",
            Exit::Refused => "refused by a party, or a verification failed",
            Exit::Usage => "the command line is wrong",
            Exit::Configuration => "configuration or key files are wrong or contradict",
            Exit::Unreachable => "a node, device or operator could not be reached",
            Exit::Input => "an input is not what it should be",
            Exit::Io => "reading or writing failed",
        }
    }

    /// The list that `--help` ends with.
    #[must_use]
    pub fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Exit::ALL {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {}  {}", exit as u8, exit.meaning());
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ends with another code than 0: found and expected, never a secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// What happened: lower case, no full stop.
    pub message: String,
}

impl Failure {
    /// A failure with a text.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
        }
    }

    /// A failure from an error and all that caused it, joined by colons.
    #[must_use]
    pub fn from_error(exit: Exit, error: &dyn std::error::Error) -> Failure {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // A transparent error repeats its source's text.
            if !message.ends_with(&text) {
                let _ = write!(message, ": {text}");
            }
            cause = error.source();
        }
        Failure { exit, message }
    }
}

/// In which language the customer's own lines come first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Lang {
    /// Japanese, then English.
    Ja,
    /// English, then Japanese.
    En,
}

impl Lang {
    /// From `LC_ALL`, `LC_MESSAGES`, `LANG`, the first that is set; English unless it begins with
    /// `ja`.
    #[must_use]
    pub fn from_environment() -> Lang {
        let set = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty());
        match set {
            Some(value) if value.starts_with("ja") => Lang::Ja,
            _ => Lang::En,
        }
    }

    /// Both lines, this language's first.
    #[must_use]
    pub fn both(self, ja: &str, en: &str) -> String {
        let [first, second] = self.ordered(ja, en);
        format!("{first}\n{second}")
    }

    /// Both words on one line, this language's first: `until / 期限`.
    #[must_use]
    pub fn label(self, ja: &str, en: &str) -> String {
        let [first, second] = self.ordered(ja, en);
        format!("{first} / {second}")
    }

    const fn ordered<'a>(self, ja: &'a str, en: &'a str) -> [&'a str; 2] {
        match self {
            Lang::Ja => [ja, en],
            Lang::En => [en, ja],
        }
    }
}

/// How one run of the command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    colour: bool,
    lang: Lang,
}

impl Output {
    /// `json` as `--json` says; colours if stdout is a terminal and `NO_COLOR` is unset.
    #[must_use]
    pub fn new(json: bool, lang: Option<Lang>) -> Output {
        Output {
            json,
            quiet: false,
            colour: !json && is_coloured(&io::stdout()),
            lang: lang.unwrap_or_else(Lang::from_environment),
        }
    }

    /// Prints no answers: for a command that is a step of another.
    #[must_use]
    pub fn quiet(self) -> Output {
        Output {
            quiet: true,
            ..self
        }
    }

    /// Whether answers are JSON, one object a line.
    #[must_use]
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Whether stdout takes colours.
    #[must_use]
    pub const fn is_coloured(self) -> bool {
        self.colour
    }

    /// The customer's language.
    #[must_use]
    pub const fn lang(self) -> Lang {
        self.lang
    }

    /// Prints one answer: `value` as one line of JSON, or the text for people.
    ///
    /// # Errors
    /// [`Exit::Io`] when stdout is gone.
    pub fn print(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let text = if self.json {
            serde_json::to_string(value).map_err(|error| Failure::from_error(Exit::Io, &error))?
        } else {
            text()
        };
        line(&text)
    }

    /// Prints a line for people; nothing with `--json`.
    ///
    /// # Errors
    /// [`Exit::Io`] when stdout is gone.
    pub fn say(self, text: &str) -> Result<(), Failure> {
        if self.json || self.quiet {
            Ok(())
        } else {
            line(text)
        }
    }

    /// A failure that a customer reads: a line in each language; with `--json` the English one.
    #[must_use]
    pub fn failure(self, exit: Exit, ja: &str, en: &str) -> Failure {
        let message = if self.json {
            en.to_owned()
        } else {
            self.lang.both(ja, en)
        };
        Failure { exit, message }
    }

    /// Prints a failure on stderr: `{"error":{"code":1,"kind":"refused","message":"…"}}` or a line.
    pub fn fail(self, failure: &Failure) {
        let text = if self.json {
            serde_json::json!({ "error": {
                "code": failure.exit as u8,
                "kind": failure.exit.name(),
                "message": failure.message,
            }})
            .to_string()
        } else {
            format!("warifu: {}", failure.message)
        };
        // Nobody is left to tell when stderr is gone.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// The text in a style, if stdout takes colours.
    #[must_use]
    pub fn paint(self, style: Style, text: impl fmt::Display) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_string()
        }
    }
}

/// Whether a stream takes colours: a terminal, and `NO_COLOR` unset or empty.
#[must_use]
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_plain
}

/// What a colour means; nothing is told by colour alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// What to look at first.
    Strong,
    /// Good: admitted, active, verified.
    Good,
    /// Taken away: frozen, denied.
    Warning,
    /// Wrong: does not work.
    Bad,
    /// What may be skipped.
    Faint,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Style::Strong => "1",
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "31",
            Style::Faint => "2",
        }
    }
}

fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new(Exit::Io, format!("could not write to stdout: {error}")))
}

/// Tells, once, that a node is up: `ready role=broker key=value …` on stdout, flushed. Values
/// with spaces are quoted.
///
/// # Errors
/// When stdout is gone.
pub fn ready(role: Role, fields: &[(&str, &str)]) -> io::Result<()> {
    let mut text = format!("ready role={}", role_name(role));
    for (name, value) in fields {
        let quoted = value.contains(char::is_whitespace);
        // Writing to a string cannot fail.
        let _ = if quoted {
            write!(text, " {name}={value:?}")
        } else {
            write!(text, " {name}={value}")
        };
    }
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// A role's name in files and machine-read lines: `device`, `broker`, `trust-operator`.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Device => "device",
        Role::Broker => "broker",
        Role::TrustOperator => "trust-operator",
    }
}

/// A text that no QR code holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("text of {found} bytes does not fit a qr code")]
pub struct QrError {
    /// Bytes of the text.
    pub found: usize,
}

/// A QR code for a terminal (ISO/IEC 18004, error correction L, quiet zone of four modules), two
/// modules to a character.
///
/// With `is_coloured` both colours are set by escape codes, dark on light, so that it scans on dark
/// and on light terminals alike. Without, there is no escape code: light modules are drawn, as for a
/// dark terminal.
///
/// # Errors
/// [`QrError`] when the text is too long (about 2,900 bytes).
pub fn qr(text: &str, is_coloured: bool) -> Result<String, QrError> {
    const QUIET: usize = 4;
    let too_long = QrError { found: text.len() };
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L)
        .map_err(|_| too_long)?;
    let width = code.width();
    let modules = code.to_colors();
    let dark = |x: usize, y: usize| {
        let inside = x.checked_sub(QUIET).zip(y.checked_sub(QUIET));
        inside
            .filter(|(x, y)| *x < width && *y < width)
            .and_then(|(x, y)| modules.get(y * width + x))
            .is_some_and(|colour| *colour == qrcode::Color::Dark)
    };
    let side = width + 2 * QUIET;
    let mut out = String::new();
    for y in (0..side).step_by(2) {
        if is_coloured {
            // Black on bright white, whatever the terminal's theme.
            out.push_str("\x1b[38;5;16;48;5;231m");
        }
        for x in 0..side {
            // The row below an odd last one is quiet zone.
            let drawn = [dark(x, y), dark(x, y + 1)].map(|dark| dark == is_coloured);
            out.push(match drawn {
                [false, false] => ' ',
                [true, false] => '▀',
                [false, true] => '▄',
                [true, true] => '█',
            });
        }
        out.push_str(if is_coloured { "\x1b[0m\n" } else { "\n" });
    }
    Ok(out)
}

/// Digits large enough to be read across a desk: five lines, other characters become spaces.
#[must_use]
pub fn large(digits: &str) -> String {
    const GLYPHS: [[&str; 5]; 10] = [
        ["███", "█ █", "█ █", "█ █", "███"],
        ["  █", "  █", "  █", "  █", "  █"],
        ["███", "  █", "███", "█  ", "███"],
        ["███", "  █", "███", "  █", "███"],
        ["█ █", "█ █", "███", "  █", "  █"],
        ["███", "█  ", "███", "  █", "███"],
        ["███", "█  ", "███", "█ █", "███"],
        ["███", "  █", "  █", "  █", "  █"],
        ["███", "█ █", "███", "█ █", "███"],
        ["███", "█ █", "███", "  █", "███"],
    ];
    let mut rows = [const { String::new() }; 5];
    for digit in digits.chars() {
        let glyph = digit
            .to_digit(10)
            .and_then(|digit| GLYPHS.get(usize::try_from(digit).ok()?))
            .unwrap_or(&["   "; 5]);
        for (row, part) in rows.iter_mut().zip(glyph) {
            row.push_str("  ");
            row.push_str(part);
        }
    }
    rows.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qr_codes_are_square_and_framed() {
        let text = qr("warifu:enrol?ticket=abc", true).unwrap();
        let rows: Vec<&str> = text.lines().collect();
        let width = rows[0]
            .trim_start_matches("\x1b[38;5;16;48;5;231m")
            .trim_end_matches("\x1b[0m")
            .chars()
            .count();
        assert_eq!(rows.len(), width.div_ceil(2));
        assert!(rows[0].contains(&" ".repeat(width)));
        assert!(qr(&"x".repeat(4000), true).is_err());
        let plain = qr("warifu:enrol?ticket=abc", false).unwrap();
        assert!(!plain.contains('\x1b'), "escape codes in {plain}");
        // The same picture with the colours exchanged.
        let exchanged: String = text
            .replace("\x1b[38;5;16;48;5;231m", "")
            .replace("\x1b[0m", "")
            .chars()
            .map(|drawn| match drawn {
                ' ' => '█',
                '█' => ' ',
                '▀' => '▄',
                '▄' => '▀',
                other => other,
            })
            .collect();
        assert_eq!(plain, exchanged);
    }

    #[test]
    fn large_digits_differ() {
        let drawn: std::collections::BTreeSet<String> =
            ('0'..='9').map(|digit| large(&digit.to_string())).collect();
        assert_eq!(drawn.len(), 10);
        assert_eq!(large("042137").lines().count(), 5);
    }

    #[test]
    fn each_language_comes_first_where_it_is_asked_for() {
        assert_eq!(Lang::Ja.label("期限", "until"), "期限 / until");
        assert_eq!(Lang::En.label("期限", "until"), "until / 期限");
        let told = |json, lang| {
            let output = Output::new(json, Some(lang));
            output.failure(Exit::Refused, "拒否", "refused").message
        };
        assert_eq!(told(false, Lang::Ja), "拒否\nrefused");
        assert_eq!(told(false, Lang::En), "refused\n拒否");
        assert_eq!(told(true, Lang::Ja), "refused");
    }

    #[test]
    fn failures_name_every_cause_once() {
        let error = io::Error::other("disk on fire");
        let failure = Failure::from_error(Exit::Io, &error);
        assert_eq!(failure.message, "disk on fire");
    }
}
