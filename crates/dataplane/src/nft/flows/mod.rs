//! UDP flows that must end once a batch is committed in, their deletion out: exact, and at the cost of those flows.
//!
//! Order of one flush: the batch is committed; an RCU grace period passes, so that every packet that saw the old data has
//! its flow in the table and its line in the log; the log is read to its end; flows are taken from the index and deleted
//! by tuple and id. Only then is the revision confirmed. Where there is no index (another listener has the log group, the
//! kernel has no nfnetlink_log, more flows than [`limits::FLOWS_INDEXED`]) the table is walked instead, UDP only.
//!
//! A frontend that is new may have flows that were never translated, which nobody logs: they are asked of the kernel,
//! which walks its table (0.1 to 0.25 s per million entries) and returns only these. Not for addresses in the Service ranges:
//! nothing passes there untranslated, and what did before is ended when the range appears.
//!
//! Not covered: a packet that some other program holds back between our rule and the end of its hooks (`queue`) for longer
//! than the grace period; flows in other conntrack zones.

mod index;
mod judge;
mod places;
mod watch;

use std::cell::Cell;

use compile::nft::flows::{Flush, Target};
use compile::nft::state::{Batch, SetName, State};
use compile::nft::words;
use kernel::nl::conntrack::bulk::{self, Select};
use kernel::nl::conntrack::{Flow, Tuple};
use kernel::nl::{Error, Socket};
use kernel::rcu;

use self::index::{Group, Index, Named, identity};
use self::judge::Judge;
use self::places::{Places, Range, within};
use self::watch::Watch;
use crate::limits;

const UDP: u8 = 17;
/// Bits of the conntrack mark that identify an endpoint, and the bit among them that says it is ours.
const IDENTITY: u32 = 0x007f_ffff;
const OURS: u32 = 0x0040_0000;

/// Ends flows; see the module.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    watch: Option<Watch>,
    places: Places,
    /// Per batch, oldest first: a failed attempt leaves them for the next.
    pending: Vec<Vec<Flush>>,
    /// Ranges of ours that appeared since the last flush.
    ranges: Vec<Range>,
    /// More was pending than may be kept: every flow of ours ends.
    everything: bool,
    /// How many flows were deleted, and how often the table was walked for it, ever.
    ended: u64,
    walks: Cell<u64>,
}

/// What ending flows took since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowFigures {
    /// Flows deleted.
    pub ended: u64,
    /// Walks of the kernel's table of flows.
    pub walks: u64,
    /// Flows followed now; none if there is no index.
    pub followed: Option<usize>,
}

impl Keeper {
    /// Starts to follow new flows, in the calling thread's network namespace.
    pub(super) fn follow(&mut self) -> Result<(), Error> {
        if self.watch.is_none() {
            self.watch = Some(Watch::start()?);
        }
        Ok(())
    }

    /// Nothing tells of flows: they are found by walks.
    pub(super) fn stop(&mut self) {
        self.watch = None;
    }

    /// What it took so far.
    pub(super) fn figures(&self) -> FlowFigures {
        let watched = self.watch.as_ref().map(Watch::figures);
        let walks = self.walks.get() + watched.map_or(0, |(walks, _)| walks);
        FlowFigures { ended: self.ended, walks, followed: watched.map(|(_, followed)| followed) }
    }

    /// Hands every flow of a selection to `each`, and counts the walk.
    fn each(&self, socket: &mut Socket, select: Select, each: &mut dyn FnMut(Flow)) -> Result<(), Error> {
        self.walks.set(self.walks.get() + 1);
        bulk::each(socket, select, each)
    }

    /// Takes what a committed batch changed.
    pub(super) fn committed(&mut self, batch: &Batch) {
        self.ranges.extend(self.places.follow(batch));
        if !batch.flush.is_empty() {
            self.pending.push(batch.flush.clone());
        }
        if self.pending.iter().map(Vec::len).sum::<usize>() > limits::FLUSHES_PENDING {
            self.pending.clear();
            self.everything = true;
        }
    }

    /// The table was read: what it says of addresses is taken, and flows of endpoints that it no longer knows end (a
    /// process died between commit and flush).
    pub(super) fn observed(&mut self, socket: &mut Socket, state: &State) -> Result<(), Error> {
        self.places = Places::of(state);
        self.flush(socket)?;
        let Some(watch) = &self.watch else { return Ok(()) };
        let Some(mut watched) = watch.index(socket)? else { return Ok(()) };
        let mut unknown = watched.index.identities();
        for value in state.get(&SetName::CtIds).into_iter().flatten().map(|(_, value)| value) {
            words::word(value).map(|mark| unknown.remove(&identity(mark)));
        }
        for identity in unknown {
            self.ended += end(socket, &mut watched.index, identity)?;
        }
        Ok(())
    }

    /// The rules were installed anew, so that identities are handed out anew: no flow may carry an old one.
    pub(super) fn installed(&mut self, socket: &mut Socket) -> Result<(), Error> {
        self.places = Places::default();
        self.forget_identities(socket)
    }

    /// What flows carry so far stands for nobody any more: they are judged by where they lead.
    pub(super) fn forget_identities(&mut self, socket: &mut Socket) -> Result<(), Error> {
        let mut ours: Vec<Tuple> = Vec::new();
        for v4 in [true, false] {
            self.each(socket, Select::all(v4, UDP), &mut |flow| {
                if flow.mark & OURS != 0 {
                    ours.push(flow.original);
                }
            })?;
        }
        bulk::clear_marks(socket, &ours, IDENTITY)?;
        if let Some(watch) = &self.watch {
            watch.forget_identities();
        }
        Ok(())
    }

    /// Ends the flows of everything that was committed; what fails is tried again the next time.
    pub(super) fn flush(&mut self, socket: &mut Socket) -> Result<(), Error> {
        if self.pending.is_empty() && self.ranges.is_empty() && !self.everything {
            return Ok(());
        }
        let judge = Judge::new(&self.pending);
        let opened = self.opened(&judge);
        let concerned = !judge.left.is_empty() || judge.checks.values().any(|check| !check.unidentified_only);
        if concerned || !self.ranges.is_empty() || self.everything {
            // Where the kernel offers no proof, packets in flight are the only ones that may be missed.
            let _unproven = rcu::grace_period();
            self.ended += self.judge(socket, &judge)?;
            self.ended += self.select(socket, &judge, &opened)?;
            self.ended += self.sweep_ranges(socket)?;
        }
        self.pending.clear();
        self.ranges.clear();
        self.everything = false;
        Ok(())
    }

    /// Frontends through which flows may go that were never translated.
    fn opened(&self, judge: &Judge) -> Vec<Target> {
        let new = judge.checks.iter().filter(|(_, check)| check.opened).map(|(target, _)| *target);
        new.filter(|target| target.address.is_none_or(|address| !self.places.is_refused(&address))).collect()
    }

    /// Ends what the judge condemns among translated flows; how many were there.
    fn judge(&self, socket: &mut Socket, judge: &Judge) -> Result<u64, Error> {
        let watched = match &self.watch {
            Some(watch) if !self.everything => watch.index(socket)?,
            _ => None,
        };
        let Some(mut watched) = watched else { return self.walk(socket, judge) };
        let mut ended = 0;
        for identity in &judge.left {
            ended += end(socket, &mut watched.index, *identity)?;
        }
        for (target, check) in &judge.checks {
            for group in groups(&watched.index, target, &self.places) {
                if judge.keeps(check, group.identity) || (check.unidentified_only && group.identity != 0) {
                    continue;
                }
                let mut astray = watched.index.flows(group);
                if group.identity == 0 {
                    let tuples: Vec<Tuple> = astray.iter().map(|(tuple, _)| *tuple).collect();
                    let found = bulk::look_up(socket, &tuples)?;
                    let mut wrong = found.iter().map(|flow| flow.is_some_and(|flow| judge.astray(check, &flow)));
                    astray.retain(|_| wrong.next().unwrap_or(false));
                }
                ended += bulk::delete_all(socket, &astray)? as u64;
                astray.iter().for_each(|flow| watched.index.forget_flow(group, flow));
            }
        }
        Ok(ended)
    }

    /// Without an index: one look at every UDP flow.
    fn walk(&self, socket: &mut Socket, judge: &Judge) -> Result<u64, Error> {
        let (mut doomed, mut translated): (Vec<Named>, usize) = (Vec::new(), 0);
        for v4 in [true, false] {
            self.each(socket, Select::all(v4, UDP), &mut |flow| {
                translated += usize::from(flow.destination_translated());
                let all = self.everything && flow.mark & OURS != 0;
                if all || judge.condemns(&flow, &self.places) {
                    doomed.push((flow.original, flow.id));
                }
            })?;
        }
        if let Some(watch) = &self.watch {
            watch.counted(translated);
        }
        Ok(bulk::delete_all(socket, &doomed)? as u64)
    }

    /// Ends flows through new frontends, also untranslated ones: asked for one by one, or, if there are many, in one walk.
    fn select(&self, socket: &mut Socket, judge: &Judge, opened: &[Target]) -> Result<u64, Error> {
        let one = |target: &Target| Select {
            destination: target.address,
            destination_port: Some(target.port),
            ..Select::all(target.v4, UDP)
        };
        let selects: Vec<Select> = match opened.len() {
            0..=limits::FLOW_SELECTS => opened.iter().map(one).collect(),
            _ => [true, false].map(|v4| Select::all(v4, UDP)).into(),
        };
        let mut doomed: Vec<Named> = Vec::new();
        for select in selects {
            self.each(socket, select, &mut |flow| {
                if judge.condemns(&flow, &self.places) {
                    doomed.push((flow.original, flow.id));
                }
            })?;
        }
        Ok(bulk::delete_all(socket, &doomed)? as u64)
    }

    /// Ends untranslated flows into ranges that are ours from now on.
    fn sweep_ranges(&self, socket: &mut Socket) -> Result<u64, Error> {
        let mut ended = 0;
        for v4 in [true, false] {
            let ranges: Vec<&Range> = self.ranges.iter().filter(|(first, _)| first.is_ipv4() == v4).collect();
            if ranges.is_empty() {
                continue;
            }
            let mut doomed: Vec<Named> = Vec::new();
            self.each(socket, Select::all(v4, UDP), &mut |flow| {
                let to = flow.original.destination;
                let ours = ranges.iter().any(|range| within(range, &to)) && self.places.is_refused(&to);
                if ours && !flow.destination_translated() {
                    doomed.push((flow.original, flow.id));
                }
            })?;
            ended += bulk::delete_all(socket, &doomed)? as u64;
        }
        Ok(ended)
    }
}

/// Deletes the flows of one endpoint; how many were there.
fn end(socket: &mut Socket, index: &mut Index, identity: u32) -> Result<u64, Error> {
    let mut ended = 0;
    for group in index.of_identity(identity) {
        ended += bulk::delete_all(socket, &index.flows(group))? as u64;
        index.forget(group);
    }
    Ok(ended)
}

/// Groups of flows through a frontend.
fn groups(index: &Index, target: &Target, places: &Places) -> Vec<Group> {
    match target.address {
        Some(address) => index.to_port(target.port, |to| *to == address),
        None => index.to_port(target.port, |to| to.is_ipv4() == target.v4 && places.is_node(to)),
    }
}
