//! Turns the pods (or revisions) of a namespace into those of one owner: it takes what matches and is nobody's, and lets
//! go of what no longer matches.

use api::kind::Kind;

use super::Selector;
use super::objects::{Meta, Pod};
use crate::write::{Edit, Target, Write};

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The owner's.
    Mine,
    /// Nobody's, and wanted.
    Wanted,
    /// The owner's, and no longer wanted.
    Unwanted,
    /// Somebody else's.
    Foreign,
}

/// Who claims, and what.
pub(super) struct Owner<'a> {
    /// Metadata of the owner.
    pub meta: &'a Meta,
    /// Its kind.
    pub kind: &'static Kind,
    /// What it selects by labels.
    pub selector: &'a Selector,
}

impl Owner<'_> {
    fn claim(&self, meta: &Meta, fits: bool) -> Claim {
        let selected = fits && self.selector.matches(&meta.labels);
        match meta.controller() {
            Some(owner) if owner.uid != self.meta.uid => Claim::Foreign,
            Some(_) if selected => Claim::Mine,
            Some(_) => Claim::Unwanted,
            None if selected && !meta.deleting() && !self.meta.deleting() => Claim::Wanted,
            None => Claim::Foreign,
        }
    }

    /// Whether an object is the owner's after this decision; what has to be written for that is added to `writes`.
    pub(super) fn takes(&self, meta: &Meta, target: Target, fits: bool, writes: &mut Vec<Write>) -> bool {
        let edit = match self.claim(meta, fits) {
            Claim::Mine => return true,
            Claim::Foreign => return false,
            // An owner on its way out changes nothing: the garbage collector decides.
            Claim::Unwanted if self.meta.deleting() => return false,
            Claim::Unwanted => Edit::Disown(vec![self.meta.uid.clone()]),
            Claim::Wanted => Edit::Own(self.meta.owner_reference(self.kind)),
        };
        let taken = matches!(edit, Edit::Own(_));
        writes.push(Write::Edit { target, edit, note: None });
        taken
    }

    /// The pods that are the owner's. `fits` says which ones it could have made at all.
    pub(super) fn pods<'a>(
        &self,
        pods: &[&'a Pod],
        fits: impl Fn(&Pod) -> bool,
        writes: &mut Vec<Write>,
    ) -> Vec<&'a Pod> {
        let finished = |pod: &Pod| pod.finished() && pod.meta.controller().is_none();
        let mine =
            pods.iter().copied().filter(|pod| !finished(pod) && self.takes(&pod.meta, pod.target(), fits(pod), writes));
        mine.collect()
    }
}
