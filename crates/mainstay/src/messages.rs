//! The errors that people meet most: an error in, its code out; a code in, what it means and how it is mended out.
//!
//! Codes of what is wrong with a Service begin with MS1 and are `compile::diagnose`'s; these begin with MS0. Numbers never
//! change their meaning.

use pods::sandbox::Error as SandboxError;

use crate::exit::{self, Exit};

/// One error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Common {
    /// `MS0101`.
    pub(crate) id: &'static str,
    /// The same as one word.
    pub(crate) word: &'static str,
    /// In a few words.
    pub(crate) title: &'static str,
    /// What it means.
    pub(crate) meaning: &'static str,
    /// What to do.
    pub(crate) mend: &'static str,
}

macro_rules! common {
    ($($id:ident $word:literal $title:literal $meaning:literal $mend:literal)*) => {
        $(
            #[doc = $title]
            pub(crate) const $id: &Common =
                &Common { id: stringify!($id), word: $word, title: $title, meaning: $meaning, mend: $mend };
        )*
        /// Every one, by number.
        pub(crate) const ALL: &[&Common] = &[$($id),*];
    };
}

common! {
    MS0101 "NotReachable"
    "no instance answers"
    "The API of the instance could not be reached: nothing runs in that data directory, or the server is gone while its pods \
     go on."
    "`mainstay ls` shows what runs and where. Start it with `mainstay up --sandbox`; the pods of an earlier server are taken \
     over. Another instance is named with --data-dir DIR or --kubeconfig PATH."

    MS0102 "TimedOut"
    "what was waited for did not come to be in time"
    "Objects were missing, not ready or not applied when the time was up. Nothing is undone: they may still come."
    "The message names each object and what it lacks. `mainstay doctor` and `mainstay explain svc/NAME` say why; wait longer \
     with --timeout or --wait=DURATION."

    MS0103 "Locked"
    "another server runs on the data directory"
    "Two servers on one directory would overwrite each other's data, so the second one refuses."
    "Stop the first with `mainstay down --data-dir DIR`, or give the second a directory of its own."

    MS0104 "NamespacesRefused"
    "the kernel refuses user namespaces"
    "A sandbox is made of namespaces. Ubuntu's AppArmor rule, a container's seccomp filter, a sysctl, a limit or a chroot can \
     forbid them to ordinary users."
    "The message names the cause and the lines to type. As root (`sudo mainstay up --sandbox`) no user namespace is needed."

    MS0105 "OtherRelease"
    "the running pods are kept by another release"
    "The process that keeps the pods speaks another protocol than this program, which therefore does not touch it."
    "Use the release that started it, or stop everything with `mainstay down` and start anew: pods restart, data stays."

    MS0106 "HolderDied"
    "the process that keeps the pods ended while starting"
    "It is started first and makes the namespaces; without it there are no pods."
    "The message ends with what it said; all of it is in DIR/holder.log."

    MS0107 "AddressInUse"
    "the address of the API is taken"
    "Another program, often another instance, listens on the address of --listen (127.0.0.1:6443 unless given)."
    "`mainstay ls` shows other instances; `ss -ltnp` shows any program. --listen 127.0.0.1:0 picks a free port."

    MS0108 "ManifestUnusable"
    "a manifest cannot be used"
    "A file, folder or URL of -f cannot be read, is no YAML or JSON, or holds something that is no object of a served kind. \
     Nothing of it was applied."
    "The message names file, document and line. `kubectl api-resources` lists the kinds."

    MS0109 "ObjectRefused"
    "the API refused an object"
    "The object was read, but breaks a rule of its kind: the API's own words name the field."
    "Mend the field; `kubectl explain KIND` describes it."

    MS0110 "DataDirUnusable"
    "the data directory cannot be used"
    "It cannot be made or written by this user."
    "Name one that you may write: --data-dir DIR. As root the default is /var/lib/mainstay, otherwise ~/.local/state/mainstay."

    MS0111 "NoReadyPod"
    "nothing that was named has a ready pod"
    "The workload or Service selects no pod that is ready, so there is none to run the command in."
    "`kubectl get pods` shows their state, `mainstay explain svc/NAME` the first step that fails."
}

impl Common {
    /// A page about it.
    pub(crate) fn text(&self) -> String {
        format!(
            "{} {}: {}\n\nWhat it means\n  {}\n\nHow to mend it\n  {}\n",
            self.id, self.word, self.title, self.meaning, self.mend
        )
    }
}

/// The error of this number, in any case.
pub(crate) fn by_id(id: &str) -> Option<&'static Common> {
    ALL.iter().find(|common| common.id.eq_ignore_ascii_case(id)).copied()
}

/// What an error is known as; none if it is not one of the common ones.
pub(crate) fn of(error: &anyhow::Error) -> Option<&'static Common> {
    if let Some(common) = exit::known(error) {
        return Some(common);
    }
    if let Some(sandbox) = error.downcast_ref::<SandboxError>() {
        return match sandbox {
            SandboxError::Locked(_) => Some(MS0103),
            SandboxError::Refused(_) => Some(MS0104),
            SandboxError::Version { .. } => Some(MS0105),
            SandboxError::Died(..) => Some(MS0106),
            _ => None,
        };
    }
    match exit::code(error) {
        Exit::Unreachable => Some(MS0101),
        Exit::TimedOut => Some(MS0102),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_errors_have_codes_that_can_be_looked_up() {
        assert_eq!(of(&Exit::Unreachable.error("x")), Some(MS0101));
        assert_eq!(of(&anyhow::Error::new(SandboxError::Refused("x".into())).context("cannot start")), Some(MS0104));
        assert_eq!(of(&exit::tag(MS0107, anyhow::anyhow!("taken.\nTry"))), Some(MS0107));
        assert_eq!(of(&anyhow::anyhow!("x")), None);
        for (index, common) in ALL.iter().enumerate() {
            assert_eq!(by_id(&common.id.to_lowercase()), Some(*common));
            assert!(
                ALL[..index].iter().all(|other| other.id < common.id && other.word != common.word),
                "{}",
                common.id
            );
            assert!(compile::diagnose::by_id(common.id).is_none(), "{} has one meaning", common.id);
        }
    }
}
