//! Leases are weighed: each worker's load is brought near the average of the fleet.
//!
//! Source: KCL 3.x `VarianceBasedLeaseAssignmentDecider`; LEASES.md section 4.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashSet};

use super::load::{Averages, Gauge, Limits, gauges};
use super::scene::{Given, Place, Scene, Weighed};
use crate::config::Balancing;

/// Whoever is at a limit but for the last bits of a sum is not above it: neither who receives, nor who would have to give
/// what the next one receives in turn.
const ROUNDING: f64 = 1e-9;

fn is_above(value: f64, limit: f64) -> bool {
    value > limit + limit.abs() * ROUNDING
}

/// A worker that may be given leases. The greatest is the one farthest below the average.
#[derive(Debug)]
struct Receiver {
    /// How much its load may rise to reach the average, against what it is; of its metrics, the one nearest to it.
    room: f64,
    kbps: f64,
    leases: usize,
    place: Place,
}

impl Ord for Receiver {
    /// Where the load says nothing, as in a fleet that has just begun, whoever carries less comes first (Java leaves
    /// such ties to the inner order of its heap, which gives everything to two workers).
    fn cmp(&self, other: &Self) -> Ordering {
        let room = self.room.total_cmp(&other.room);
        room.then_with(|| other.kbps.total_cmp(&self.kbps)).then_with(|| {
            (Reverse(self.leases), Reverse(self.place)).cmp(&(Reverse(other.leases), Reverse(other.place)))
        })
    }
}

impl PartialOrd for Receiver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Receiver {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Receiver {}

/// One run: gauges rise as leases are given.
pub(super) struct Decider<'b> {
    gauges: Vec<Vec<Gauge>>,
    averages: Averages,
    queue: BinaryHeap<Receiver>,
    limits: Limits,
    balancing: &'b Balancing,
    /// A fair share of the throughput, KiB a second; not 0.
    fair: f64,
}

impl<'b> Decider<'b> {
    /// For leases that need an owner: a fair share is one of all there is.
    pub(super) fn to_assign(scene: &Scene<'_>, limits: Limits, balancing: &'b Balancing) -> Self {
        Self::new(scene, limits, balancing, scene.total_per_worker())
    }

    /// For moves between workers: a fair share is one of what they carry. Java counts what others hold, too (workers
    /// whose metrics fail, for one); then a move weighs less than it is, and leases go to and fro for ever.
    pub(super) fn to_balance(scene: &Scene<'_>, limits: Limits, balancing: &'b Balancing) -> Self {
        Self::new(scene, limits, balancing, scene.carried_per_worker())
    }

    fn new(scene: &Scene<'_>, limits: Limits, balancing: &'b Balancing, fair: f64) -> Self {
        let fair = fair.max(f64::MIN_POSITIVE); // where nobody carries anything, it is not divided by
        let (gauges, averages) = gauges(scene, balancing.ema_alpha, fair);
        let mut decider = Self { gauges, averages, queue: BinaryHeap::new(), limits, balancing, fair };
        for place in 0..scene.carriers.len() {
            decider.enqueue(scene, place);
        }
        decider
    }

    /// All workers: those with most room first; of those with the same, whoever carries less.
    pub(super) fn order(&self, scene: &Scene<'_>) -> Vec<Place> {
        let mut order: Vec<Place> = (0..self.gauges.len()).collect();
        order.sort_by(|a, b| {
            let more = self.room(*b).total_cmp(&self.room(*a));
            more.then_with(|| scene.carriers[*a].kbps.total_cmp(&scene.carriers[*b].kbps)) // stable: ties by name
        });
        order
    }

    /// Workers that Java would take leases from, by whichever metric.
    pub(super) fn loaded(&self) -> HashSet<Place> {
        (0..self.averages.len()).flat_map(|metric| self.donors(metric)).map(|(place, _)| place).collect()
    }

    /// Gives each lease that needs an owner to the worker farthest below the average.
    pub(super) fn assign<'a>(mut self, scene: &mut Scene<'a>) -> Vec<Given<'a>> {
        let mut given = Vec::new();
        for weighed in std::mem::take(&mut scene.needy) {
            let Some(receiver) = self.queue.pop() else { break }; // all are full
            given.push(self.give(scene, weighed, receiver.place));
        }
        given
    }

    /// Moves leases from workers above the average to workers below it, as far as no receiver comes out above it.
    pub(super) fn balance<'a>(mut self, scene: &mut Scene<'a>) -> Vec<Given<'a>> {
        let mut moved = Vec::new();
        for (donor, kbps) in self.outliers(scene) {
            self.relieve(scene, donor, kbps, &mut moved);
        }
        moved
    }

    /// The workers that must give, and how much throughput each, most first: by the metric that moves most.
    fn outliers(&self, scene: &Scene<'_>) -> Vec<(Place, f64)> {
        let (mut outliers, mut most) = (Vec::new(), -1.0);
        for metric in 0..self.averages.len() {
            let surplus: Vec<(Place, f64)> = self
                .donors(metric)
                .into_iter()
                .filter_map(|(place, value)| Some((place, self.surplus(scene, metric, place, value)?)))
                .collect();
            let total: f64 = surplus.iter().map(|(_, kbps)| kbps).sum();
            if !surplus.is_empty() && total > most {
                (outliers, most) = (surplus, total);
            }
        }
        outliers.sort_by(|(_, a), (_, b)| b.total_cmp(a)); // stable: ties by name
        outliers
    }

    /// Workers whose `metric` is too high, or the highest where another's is too low; nobody while all are near the
    /// average and within their ranges.
    fn donors(&self, metric: usize) -> Vec<(Place, f64)> {
        let (average, threshold) = (self.averages[metric], f64::from(self.balancing.threshold_percentage) / 100.0);
        let (upper, lower) = (average * (1.0 + threshold), average * (1.0 - threshold));
        let (mut donors, mut highest, mut uneven) = (Vec::new(), None, false);
        for (place, gauges) in self.gauges.iter().enumerate() {
            let Some(gauge) = gauges.iter().find(|gauge| gauge.metric == metric) else { continue };
            let out_of_range = is_above(gauge.value, gauge.range);
            uneven |= gauge.value > upper || gauge.value < lower || out_of_range;
            if gauge.value >= upper || out_of_range {
                donors.push((place, gauge.value));
            }
            if highest.is_none_or(|(_, value)| value < gauge.value) {
                highest = Some((place, gauge.value));
            }
        }
        match (uneven, donors.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => highest.into_iter().collect(),
            (true, false) => donors,
        }
    }

    /// Throughput that the donor should be rid of, dampened; below 0 for one that is below the average but above its
    /// range. `None` where that is no number.
    fn surplus(&self, scene: &Scene<'_>, metric: usize, donor: Place, value: f64) -> Option<f64> {
        let above = (value - self.averages[metric]) / value;
        let dampened = above * (f64::from(self.balancing.dampening_percentage) / 100.0);
        Some(scene.carriers[donor].kbps * dampened).filter(|kbps| kbps.is_finite())
    }

    /// Moves leases of `donor` that together carry less than `kbps`, the heaviest that fit first, so that few shards
    /// stop for a handoff. A lease that carries nothing stays: moving it relieves nobody (Java moves all of those).
    fn relieve<'a>(&mut self, scene: &mut Scene<'a>, donor: Place, kbps: f64, moved: &mut Vec<Given<'a>>) {
        let mut leases = std::mem::take(&mut scene.carriers[donor].movable);
        leases.sort_by(|a, b| b.kbps.total_cmp(&a.kbps)); // stable: ties by shard
        if scene.carriers[donor].kbps == 0.0 {
            leases.truncate(1); // loaded by something else than its leases, as far as can be seen: try with one less
        } else {
            leases.retain(|weighed| weighed.kbps > 0.0);
        }
        let Some(lightest) = leases.last().copied() else { return };
        let overshoot = self.balancing.allow_overshoot || lightest.kbps == 0.0;
        let mut aside = Vec::new();
        let mut offer = |scene: &mut Scene<'a>, weighed| {
            aside.extend(self.set_aside(donor, lightest.kbps));
            self.offer(scene, weighed, donor)
        };
        let (mut rest, mut none_fits, mut refused) = (kbps, true, true);
        // A lease that was refused may find another receiver once a lighter one has filled up the first.
        while std::mem::take(&mut refused) {
            let before = moved.len();
            leases.retain(|weighed| {
                if rest - weighed.kbps <= 0.0 {
                    return true;
                }
                none_fits = false;
                let given = offer(scene, *weighed);
                refused |= given.is_none();
                rest -= given.map_or(0.0, |_| weighed.kbps);
                moved.extend(given);
                given.is_none()
            });
            refused &= moved.len() > before;
        }
        if none_fits && overshoot {
            moved.extend(offer(scene, lightest));
        }
        self.queue.extend(aside);
    }

    /// Takes those receivers off the top of the queue that could not even take `lightest`; the donor, too.
    fn set_aside(&mut self, donor: Place, lightest: f64) -> Vec<Receiver> {
        let mut aside = Vec::new();
        while let Some(top) = self.queue.peek()
            && (top.place == donor || self.would_exceed(top.place, lightest))
        {
            aside.extend(self.queue.pop());
        }
        aside
    }

    /// Gives the lease to the worker farthest below the average, unless that would come out above it. Java gives up on
    /// the donor then, and on that receiver for all other donors; a lighter lease may still fit.
    fn offer<'a>(&mut self, scene: &mut Scene<'a>, weighed: Weighed<'a>, donor: Place) -> Option<Given<'a>> {
        let receiver = self.queue.peek()?.place;
        if self.would_exceed(receiver, weighed.kbps) {
            return None;
        }
        self.queue.pop();
        scene.take(weighed, donor);
        Some(self.give(scene, weighed, receiver))
    }

    fn would_exceed(&self, receiver: Place, kbps: f64) -> bool {
        self.gauges[receiver].iter().any(|gauge| {
            let most = self.averages[gauge.metric].min(gauge.range);
            is_above(gauge.value + self.rise(gauge.metric, kbps), most)
        })
    }

    /// By how much a metric rises with `kbps` more: a fair share of the throughput brings it to the average.
    fn rise(&self, metric: usize, kbps: f64) -> f64 {
        kbps * self.averages[metric] / self.fair
    }

    fn give<'a>(&mut self, scene: &mut Scene<'a>, weighed: Weighed<'a>, to: Place) -> Given<'a> {
        for index in 0..self.gauges[to].len() {
            let rise = self.rise(self.gauges[to][index].metric, weighed.kbps);
            self.gauges[to][index].value += rise;
        }
        let given = scene.give(weighed, to);
        self.enqueue(scene, to);
        given
    }

    fn room(&self, place: Place) -> f64 {
        let room = self.gauges[place].iter().map(|gauge| room(gauge, self.averages[gauge.metric]));
        room.fold(f64::MAX, f64::min)
    }

    /// Lets the worker receive, unless it is at a limit.
    fn enqueue(&mut self, scene: &Scene<'_>, place: Place) {
        let carrier = &scene.carriers[place];
        if self.limits.leave_room(carrier) {
            self.queue.push(Receiver { room: self.room(place), kbps: carrier.kbps, leases: carrier.leases, place });
        }
    }
}

/// A worker without load can take as much again as it has, by definition.
///
/// Source: KCL 3.x `WorkerMetricStats.computePercentageToReachAverage`.
fn room(gauge: &Gauge, average: f64) -> f64 {
    if gauge.value == 0.0 { 1.0 } else { (average - gauge.value) / gauge.value }
}
