//! What the kept verdicts come to.

use super::{Options, Sources};
use crate::{
    error::Error,
    results::{Judged, Results, Verdict},
};

/// The least share of viable mutants that must be killed, in percent.
const LEAST: usize = 95;

/// Prints survivors without a reason, and the line of figures. Whether it is enough.
///
/// # Errors
/// [`Error::File`], [`Error::Line`].
pub(crate) fn report(
    options: &Options,
    results: &Results,
    sources: &Sources,
) -> Result<bool, Error> {
    let (mut killed, mut unviable, mut explained, mut bare, mut unjudged) = (0, 0, 0, 0, 0);
    for (file, source) in sources {
        let kept = results.read(file)?;
        for (key, mutant) in &source.mutants {
            match kept.get(key) {
                None => unjudged += 1,
                Some(Judged { verdict, note }) => match verdict {
                    Verdict::Caught | Verdict::Timeout => killed += 1,
                    Verdict::Unviable => unviable += 1,
                    Verdict::Survived if note.is_empty() => {
                        bare += 1;
                        println!("survived: {}", mutant.name);
                    }
                    Verdict::Survived => explained += 1,
                },
            }
        }
    }
    let viable: usize = killed + explained + bare;
    let thousandths = (killed * 1000).checked_div(viable).unwrap_or(1000);
    println!(
        "mutants: {killed} of {viable} viable killed ({}.{} %), {explained} survive for a reason, {bare} without, \
         {unviable} unviable, {unjudged} not judged",
        thousandths / 10,
        thousandths % 10,
    );
    let whole = options.report || options.in_diff;
    Ok(bare == 0 && killed * 100 >= viable * LEAST && (unjudged == 0 || !whole))
}
