use std::collections::VecDeque;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::*;
use crate::host::Unknown;

/// Says these one after the other, then 100 for ever.
struct Script(VecDeque<Result<f64, NotMeasured>>);

#[async_trait]
impl Cpu for Script {
    async fn percent(&mut self) -> Result<f64, NotMeasured> {
        self.0.pop_front().unwrap_or(Ok(100.0))
    }
}

/// Is found after 10 s, and hands its script out once.
struct Machine(Mutex<VecDeque<Result<f64, NotMeasured>>>);

#[async_trait]
impl Host for Machine {
    async fn find_cpu(&self) -> Option<Box<dyn Cpu>> {
        sleep(Duration::from_secs(10)).await;
        Some(Box::new(Script(std::mem::take(&mut *self.0.lock().unwrap()))))
    }
}

fn every_second() -> Option<CpuSampling> {
    Some(CpuSampling::default())
}

fn load<const N: usize>(script: [Result<f64, NotMeasured>; N]) -> Load {
    Load::new(Arc::new(Machine(Mutex::new(script.into()))), every_second())
}

fn broken() -> Result<f64, NotMeasured> {
    Err(NotMeasured("broken".to_owned()))
}

async fn measure_for(load: &Load, time: Duration) {
    assert!(timeout(time, load.measure()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_reported_before_two_captures_and_then_their_average() {
    let load = load([Ok(0.0), Ok(50.0)]);
    let early = async {
        sleep(Duration::from_secs(10)).await;
        assert_eq!(load.report(), None, "found, but not measured");
    };
    let known = async {
        let begin = Instant::now();
        load.known().await;
        assert!((11.0..12.1).contains(&begin.elapsed().as_secs_f64()), "{:?}", begin.elapsed());
        assert_eq!(load.report(), Some(vec![25.0]));
    };
    let all = async { tokio::join!(early, known) };
    tokio::select! {
        () = load.measure() => {}
        _ = all => {}
    }
}

#[tokio::test(start_paused = true)]
async fn captures_that_fail_are_left_out_and_an_interval_of_them_says_minus_one() {
    let load = load([broken(), broken(), Ok(10.0), broken(), Ok(20.0)]);
    tokio::select! {
        () = load.measure() => {}
        () = load.known() => {}
    }
    assert_eq!(load.report(), Some(vec![-1.0]));
}

#[test]
fn where_nothing_is_measured_there_is_no_timer() {
    for load in [Load::new(Arc::new(Unknown), every_second()), Load::new(Arc::new(Machine(Mutex::default())), None)] {
        // outside of a runtime a timer panics
        assert!(load.measure().now_or_never().is_none());
        assert_eq!(load.report(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_hangs_is_given_up() {
    struct Deaf;
    #[async_trait]
    impl Cpu for Deaf {
        async fn percent(&mut self) -> Result<f64, NotMeasured> {
            std::future::pending().await
        }
    }
    struct DeafMachine;
    #[async_trait]
    impl Host for DeafMachine {
        async fn find_cpu(&self) -> Option<Box<dyn Cpu>> {
            Some(Box::new(Deaf))
        }
    }
    let load = Load::new(Arc::new(DeafMachine), every_second());
    measure_for(&load, Duration::from_secs(15)).await;
    assert_eq!(load.report(), Some(vec![-1.0]));
}
