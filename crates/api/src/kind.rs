//! Kinds are data: what discovery, routing, storage and printing need to know about each kind, one row per kind.

use serde_json::Value;

use crate::field::FieldErrors;

/// Everything generic code knows about one kind.
pub struct Kind {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version, for example `v1`.
    pub version: &'static str,
    /// Kind, for example `Service`.
    pub kind: &'static str,
    /// Resource name in URLs, for example `services`.
    pub plural: &'static str,
    /// Singular resource name.
    pub singular: &'static str,
    /// Short names accepted by kubectl.
    pub short_names: &'static [&'static str],
    /// Categories such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Subresources served: any of `status`, `scale`, `log`, `exec`, `attach`, `portforward`, `proxy`, `finalize`,
    /// `binding`.
    pub subresources: &'static [&'static str],
    /// Whether PUT on a missing name creates (Service, Lease, Endpoints, Event, ...).
    pub create_on_update: bool,
    /// Whether `metadata.generation` is kept (Service and Endpoints have none).
    pub generation: bool,
    /// What a client is told when it writes an object of this kind, because nothing acts on it: one line of ASCII.
    pub not_enforced: Option<&'static str>,
    /// The rules of this kind.
    pub rules: &'static dyn Rules,
}

/// What a write goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The object itself; `status` is kept from the stored object.
    Main,
    /// `/status`: everything but `status` (and labels, annotations, finalizers) is kept from the stored object.
    Status,
}

/// A printed column of a server-side Table.
pub struct Column {
    /// Header, for example `Cluster-IP`.
    pub name: &'static str,
    /// JSON type: `string`, `integer`, `boolean`, `date`.
    pub r#type: &'static str,
    /// `name` for the first column, otherwise empty.
    pub format: &'static str,
    /// Shown by `kubectl get` when 0, only by `-o wide` when 1.
    pub priority: u8,
    /// One sentence for clients that show it.
    pub description: &'static str,
}

/// The rules one kind obeys. All values are JSON objects that already passed the kind's schema.
pub trait Rules: Sync {
    /// Fills defaults, as decoding does in Kubernetes: on create, on update and on the result of a patch.
    fn default(&self, object: &mut Value);
    /// Wipes what a creator may not set (status) and sets what the server sets (generation is done by generic code).
    fn prepare_create(&self, object: &mut Value);
    /// Keeps what this write may not change, drops what a changed type no longer needs.
    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target);
    /// Checks a new object (`old` is none) or an update.
    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors;
    /// Texts for `Warning:` headers.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
    /// Columns of the server-side Table.
    fn columns(&self) -> &'static [Column];
    /// Cells of one row, in the order of `columns`. `now_seconds` is Unix time, for ages.
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value>;
    /// Value of a selectable field such as `spec.nodeName`; none if the field cannot be selected by.
    /// `metadata.name` and `metadata.namespace` are handled by generic code.
    fn field(&self, _object: &Value, _field: &str) -> Option<String> {
        None
    }
}

impl Kind {
    /// Resource name with its group: `services`, `deployments.apps`.
    pub fn qualified(&self) -> String {
        with_group(self.plural, self.group)
    }

    /// Kind with its group: `Service`, `Deployment.apps`.
    pub fn qualified_kind(&self) -> String {
        with_group(self.kind, self.group)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}

fn with_group(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}
