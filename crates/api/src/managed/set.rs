//! Sets of fields: a tree of steps, `FieldsV1` in and out, and the algebra that ownership is computed with.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::step::Step;

/// A set of fields. A field may be in it without its parts, and parts without the field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<Step, Node>);

/// What a set holds at and below one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Whether the field itself is in the set.
    pub own: bool,
    /// Its parts.
    pub below: FieldSet,
}

impl FieldSet {
    /// The set of some fields, each named by the members that lead to it.
    pub fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let mut at = &mut set;
            for (index, name) in path.iter().enumerate() {
                let node = at.0.entry(Step::Field((*name).to_owned())).or_default();
                node.own |= index + 1 == path.len();
                at = &mut node.below;
            }
        }
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a field is in it.
    pub fn has(&self, path: &[Step]) -> bool {
        match path {
            [] => false,
            [last] => self.node(last).is_some_and(|node| node.own),
            [first, rest @ ..] => self.node(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    pub(super) fn node(&self, step: &Step) -> Option<&Node> {
        self.0.get(step)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Step, &Node)> {
        self.0.iter()
    }

    /// Adds what is known at and below a step; nothing when that is nothing.
    pub(super) fn put(&mut self, step: Step, own: bool, below: Self) {
        if own || !below.is_empty() {
            let node = self.0.entry(step).or_default();
            node.own |= own;
            if node.below.is_empty() {
                node.below = below;
            } else {
                node.below = node.below.union(&below);
            }
        }
    }

    /// Fields of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (step, node) in &other.0 {
            all.put(step.clone(), node.own, node.below.clone());
        }
        all
    }

    /// Fields of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for (step, node) in &self.0 {
            if let Some(theirs) = other.0.get(step) {
                both.put(step.clone(), node.own && theirs.own, node.below.intersection(&theirs.below));
            }
        }
        both
    }

    /// Fields of this one only. A field and its parts are told apart: taking away one keeps the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (step, node) in &self.0 {
            match other.0.get(step) {
                None => rest.put(step.clone(), node.own, node.below.clone()),
                Some(theirs) => rest.put(step.clone(), node.own && !theirs.own, node.below.difference(&theirs.below)),
            }
        }
        rest
    }

    /// The same, but a field that is taken away takes its parts along.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (step, node) in &self.0 {
            match other.0.get(step) {
                None => rest.put(step.clone(), node.own, node.below.clone()),
                Some(theirs) if theirs.own => {}
                Some(theirs) => rest.put(step.clone(), node.own, node.below.without(&theirs.below)),
            }
        }
        rest
    }

    /// Every field as conflicts name it (`.spec.ports[port=80].name`), members before parts.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.walk("", &mut paths);
        paths
    }

    fn walk(&self, prefix: &str, paths: &mut Vec<String>) {
        let own = self.0.iter().filter(|(_, node)| node.own);
        paths.extend(own.map(|(step, _)| format!("{prefix}{step}")));
        for (step, node) in self.0.iter().filter(|(_, node)| !node.below.is_empty()) {
            node.below.walk(&format!("{prefix}{step}"), paths);
        }
    }

    /// As `FieldsV1`.
    pub fn encode(&self) -> Value {
        self.encoded(false)
    }

    fn encoded(&self, own: bool) -> Value {
        let mut members = Map::new();
        if own && !self.is_empty() {
            members.insert(".".into(), json!({}));
        }
        members.extend(self.0.iter().map(|(step, node)| (step.text(), node.below.encoded(node.own))));
        Value::Object(members)
    }

    /// Reads `FieldsV1`; anything but an object counts as empty.
    pub fn decode(fields: &Value) -> Result<Self, String> {
        Ok(Self::decoded(fields)?.below)
    }

    fn decoded(fields: &Value) -> Result<Node, String> {
        let mut node = Node::default();
        for (text, below) in fields.as_object().into_iter().flatten() {
            if text == "." {
                node.own = true;
            } else if let Some(step) = Step::parse(text)? {
                let part = Self::decoded(below)?;
                node.below.put(step, part.own, part.below);
            }
        }
        // A field without parts can only be there for itself.
        node.own |= node.below.is_empty();
        Ok(node)
    }
}
