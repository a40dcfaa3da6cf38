//! Many mutants in one build: a function that has some becomes a choice between its bodies.
//!
//! Building consensus and its tests takes longer than running them, so a build for each mutant would
//! take most of the time. Here `fn f() { a }` becomes `fn f() { match on(f) { 17 => { b } _ => { a } } }`, and
//! the tests choose by an environment variable which mutant they meet. This happens in a copy of the checkout
//! only. A `const fn` can't ask, and bodies behind `-> impl` are of different types: those are left out.

use std::{collections::BTreeMap, ops::Range};

use syn::{
    Block, ImplItemFn, ItemFn, ReturnType, Signature, TraitItemFn, Type,
    visit::{self, Visit},
};

use crate::{error::Error, mutant::Listed};

/// The variable that names the mutant that is on, by its number; none, if it is not set.
pub(crate) const ON: &str = "WARIFU_MUTANT";
/// The variable that names a file to which each function's number is added when it is entered.
pub(crate) const ENTERED: &str = "WARIFU_ENTERED";

/// A source file with its mutants built in.
#[derive(Debug, Default)]
pub(crate) struct Switched {
    /// Its new text.
    pub(crate) text: String,
    /// Each mutant's body: its lines in the new text, counted from 1, and the mutant's number.
    pub(crate) bodies: Vec<(Range<usize>, usize)>,
    /// The function of each mutant, both by their numbers.
    pub(crate) functions: BTreeMap<usize, usize>,
}

/// What chooses: to be added to the crate's root, for so many functions.
pub(crate) fn chooser(functions: usize) -> String {
    format!(
        r#"
pub(crate) mod mutants_switch {{
    use std::{{
        env,
        fs::{{File, OpenOptions}},
        io::Write,
        sync::{{OnceLock, atomic::{{AtomicBool, Ordering}}}},
    }};
    static ON: OnceLock<usize> = OnceLock::new();
    static LIST: OnceLock<Option<File>> = OnceLock::new();
    static ENTERED: [AtomicBool; {functions}] = [const {{ AtomicBool::new(false) }}; {functions}];
    pub(crate) fn on(function: usize) -> usize {{
        let list = LIST.get_or_init(|| {{
            let path = env::var_os("{ENTERED}")?;
            OpenOptions::new().create(true).append(true).open(path).ok()
        }});
        if let Some(mut list) = list.as_ref()
            && !ENTERED[function].swap(true, Ordering::Relaxed)
        {{
            list.write_all(format!("{{function}}\n").as_bytes()).unwrap();
        }}
        *ON.get_or_init(|| match env::var("{ON}") {{
            Ok(text) => text.parse().unwrap(),
            Err(_) => usize::MAX,
        }})
    }}
}}
"#
    )
}

/// Builds mutants, each under its number, into the text of their file. Functions are numbered from
/// `first` on. What can't be chosen while running is in none of the maps.
///
/// # Errors
/// [`Error::Source`] for a file that is no Rust, [`Error::Listed`].
pub(crate) fn switched(
    source: &str,
    mutants: &[(usize, &Listed)],
    first: usize,
) -> Result<Switched, Error> {
    let mut chosen = BTreeMap::<usize, (Range<usize>, Vec<Arm<'_>>)>::new();
    let bodies = Bodies::of(source)?;
    for &(number, mutant) in mutants {
        let range = mutant.range(source)?;
        let around = |body: &&Range<usize>| body.start < range.start && range.end < body.end;
        // The outermost: what it holds is chosen with it.
        if let Some(body) = bodies.0.iter().find(around) {
            let arms = chosen
                .entry(body.start)
                .or_insert_with(|| (body.clone(), Vec::new()));
            arms.1.push(Arm {
                number,
                range,
                replacement: &mutant.replacement,
            });
        }
    }
    let mut out = Switched::default();
    let mut done = 0;
    for (function, (body, arms)) in (first..).zip(chosen.into_values()) {
        out.push(part(source, done..body.start));
        out.push(&format!(
            "{{ match crate::mutants_switch::on({function}) {{\n"
        ));
        for arm in arms {
            let from = out.line();
            out.push(&format!("{}usize => ", arm.number));
            out.push(part(source, body.start..arm.range.start));
            out.push(arm.replacement);
            out.push(part(source, arm.range.end..body.end));
            out.push("\n");
            out.bodies.push((from..out.line(), arm.number));
            out.functions.insert(arm.number, function);
        }
        out.push("_ => ");
        out.push(part(source, body.clone()));
        out.push("\n} }");
        done = body.end;
    }
    out.push(part(source, done..source.len()));
    Ok(out)
}

struct Arm<'a> {
    number: usize,
    range: Range<usize>,
    replacement: &'a str,
}

fn part(source: &str, range: Range<usize>) -> &str {
    source.get(range).unwrap_or_default()
}

impl Switched {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The line that is written next.
    fn line(&self) -> usize {
        self.text.matches('\n').count().saturating_add(1)
    }
}

/// The outermost functions' bodies, braces included, in bytes.
#[derive(Default)]
struct Bodies(Vec<Range<usize>>);

impl Bodies {
    fn of(source: &str) -> Result<Self, Error> {
        let file = syn::parse_file(source)?;
        let mut bodies = Self::default();
        bodies.visit_file(&file);
        Ok(bodies)
    }

    fn take(&mut self, signature: &Signature, block: &Block) {
        let opaque = match &signature.output {
            ReturnType::Type(_, returned) => matches!(**returned, Type::ImplTrait(_)),
            ReturnType::Default => false,
        };
        if signature.constness.is_none() && !opaque {
            let braces = block.brace_token.span;
            self.0
                .push(braces.open().byte_range().start..braces.close().byte_range().end);
        }
    }
}

impl<'ast> Visit<'ast> for Bodies {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.take(&function.sig, &function.block);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.take(&function.sig, &function.block);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        match &function.default {
            Some(block) => self.take(&function.sig, block),
            None => visit::visit_trait_item_fn(self, function),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::switched;
    use crate::mutant::tests::replacing;

    const SOURCE: &str = "fn least() -> u8 { 1 }\nconst fn no() -> u8 { 2 }\nstruct S;\nimpl S {\n    fn same(a: u8) -> bool {\n        a == 3\n    }\n}\n";

    #[test]
    fn a_function_becomes_a_choice_of_its_bodies() {
        let (one, two) = (
            replacing((6, 11), (6, 13), "!="),
            replacing((6, 9), (6, 15), "true"),
        );
        let out = switched(SOURCE, &[(7, &one), (9, &two)], 4).unwrap();
        let expected = "    fn same(a: u8) -> bool { match crate::mutants_switch::on(4) {\n\
            7usize => {\n        a != 3\n    }\n\
            9usize => {\n        true\n    }\n\
            _ => {\n        a == 3\n    }\n} }\n";
        assert!(out.text.contains(expected), "{}", out.text);
        assert!(
            out.text
                .starts_with("fn least() -> u8 { 1 }\nconst fn no() -> u8 { 2 }\n")
        );
        assert_eq!(out.bodies, [(6..9, 7), (9..12, 9)]);
        assert_eq!(
            out.functions.into_iter().collect::<Vec<_>>(),
            [(7, 4), (9, 4)]
        );
    }

    #[test]
    fn what_cannot_be_chosen_stays() {
        let constant = replacing((2, 24), (2, 25), "0");
        let outside = replacing((3, 8), (3, 9), "T");
        let out = switched(SOURCE, &[(1, &constant), (2, &outside)], 0).unwrap();
        assert_eq!(out.text, SOURCE);
        assert!(out.functions.is_empty());
    }
}
