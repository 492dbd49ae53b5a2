//! Types of every field of every kind: the dependency's schemas in, a small table for decoding and patching out.

mod atomic;
mod merge_keys;
mod omitted;
mod parse;

use std::collections::BTreeMap;
use std::sync::OnceLock;

pub use atomic::{is_atomic, is_atomic_map};
pub use merge_keys::{ListKind, list_kind, retains_keys};

/// Index of a definition in the [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefinitionId(usize);

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Text.
    String,
    /// Base64 of bytes.
    Bytes,
    /// RFC 3339 time; `micro` with exactly six digits of the second.
    Time {
        /// Whether it is a MicroTime.
        micro: bool,
    },
    /// Whole number of 32 or 64 bits.
    Integer {
        /// 32 or 64.
        bits: u8,
    },
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A port by number or name, a count or a percentage.
    IntOrString,
    /// A quantity, as text or number.
    Quantity,
    /// An object with known fields.
    Object(DefinitionId),
    /// A list.
    List(Box<Type>),
    /// An object with free keys.
    Map(Box<Type>),
    /// Anything.
    Any,
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    /// What its value must be.
    pub r#type: Type,
    /// Whether Kubernetes always writes it, empty or not.
    pub required: bool,
    /// Whether Kubernetes cannot tell "" (or 0, or false) from nothing here, and writes nothing.
    pub zero_is_absent: bool,
}

/// An object type.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Full name: `io.k8s.api.core.v1.ServiceSpec`.
    pub name: String,
    /// Its fields by name.
    pub fields: BTreeMap<String, Field>,
}

impl Definition {
    /// Last part of the name: `ServiceSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// Every object type.
#[derive(Debug)]
pub struct Schema {
    definitions: Vec<Definition>,
    by_name: BTreeMap<String, DefinitionId>,
}

impl Schema {
    /// The schema of this build; parsed once.
    pub fn get() -> &'static Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| parse::parse(include_str!(concat!(env!("OUT_DIR"), "/types.json"))))
    }

    /// A definition by its full name.
    pub fn by_name(&self, name: &str) -> Option<DefinitionId> {
        self.by_name.get(name).copied()
    }

    /// The definition of a kind.
    pub fn of_kind(&self, kind: &crate::kind::Kind) -> Option<DefinitionId> {
        self.by_name(&definition_name(kind.group, kind.version, kind.kind))
    }

    /// A definition.
    pub fn definition(&self, id: DefinitionId) -> &Definition {
        &self.definitions[id.0]
    }

    /// Every definition.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.iter()
    }
}

/// Full name of the definition of a kind: groups lose what follows the first dot, as in Kubernetes' packages.
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let package = match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{package}.{version}.{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_definition_with_metadata() {
        let schema = Schema::get();
        for kind in crate::kinds::ALL {
            let id = schema.of_kind(kind).unwrap_or_else(|| panic!("{} has no definition", kind.kind));
            assert!(schema.definition(id).fields.contains_key("metadata"), "{}", kind.kind);
        }
        let port = schema.definition(schema.by_name("io.k8s.api.core.v1.ServicePort").unwrap());
        assert_eq!(port.fields["port"].r#type, Type::Integer { bits: 32 });
        assert_eq!(port.fields["targetPort"].r#type, Type::IntOrString);
        assert!(port.fields["port"].required && !port.fields["name"].required);
    }
}
