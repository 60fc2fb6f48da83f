//! A frame of a visualization with 64 moving parameters, half of them played and half by modulators, allocates
//! nothing on the heap.
#![allow(clippy::unwrap_used, missing_docs)]
// Allocations cannot be counted without an unsafe allocator.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bevy_app::{App, First, Last, PostUpdate, PreUpdate};
use bevy_ecs::prelude::*;
use bevy_ecs::schedule::{ScheduleLabel, SingleThreadedExecutor};
use bevy_reflect::Reflect;
use hana_engine::playout::JitterBufferSettings;
use hana_lab::{eventually, is_alone};
use hana_network::{Node, NodeConfig};
use hana_plugin::{MeshSession, VisualizationPlugin};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{PlayPath, Set};
use hana_protocol::parameter::ParameterName;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator with a counter for each thread.
struct Counting;

// SAFETY: all calls are forwarded unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller upholds the contract.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

macro_rules! sky {
    ($($parameter:ident)*) => {
        #[derive(Resource, Reflect, Default)]
        struct Sky { $($parameter: f32,)* }
    };
}
sky! {
    p0 p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11 p12 p13 p14 p15 p16 p17 p18 p19 p20 p21 p22 p23 p24
    p25 p26 p27 p28 p29 p30 p31 p32 p33 p34 p35 p36 p37 p38 p39 p40 p41 p42 p43 p44 p45 p46 p47
    p48 p49 p50 p51 p52 p53 p54 p55 p56 p57 p58 p59 p60 p61 p62 p63
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn frame_with_64_moving_parameters_allocates_nothing() {
    if !is_alone("frame_with_64_moving_parameters_allocates_nothing", "multicast = false\n") {
        return;
    }
    let playout = JitterBufferSettings {
        delay: Duration::from_millis(20),
        ..JitterBufferSettings::default()
    };
    let mut app = App::new();
    app.add_plugins(VisualizationPlugin::<Sky>::new("sky").playout(playout));
    // Allocations are counted per thread, and Bevy allocates when it hands systems to other threads.
    for label in [First.intern(), PreUpdate.intern(), PostUpdate.intern(), Last.intern()] {
        app.edit_schedule(label, |schedule| {
            schedule.set_executor(SingleThreadedExecutor::new());
        });
    }
    let deadline = Instant::now() + SOON;
    let info = loop {
        app.update();
        if let Some(node) = app.world().resource::<MeshSession<role::Visualization>>().node() {
            break node.info();
        }
        assert!(Instant::now() < deadline, "the program does not join");
        thread::sleep(Duration::from_millis(5));
    };
    let controller = NodeConfig::from_environment(NodeId::new("hands").unwrap()).unwrap();
    let controller = Node::<role::App>::join(controller).wait(SOON).unwrap().unwrap();
    let session = controller.play_session(&info.node);
    session.set_target_info(info);
    let names: Vec<ParameterName> =
        (0..32).map(|place| ParameterName::new(&format!("p{place}")).unwrap()).collect();
    eventually(SOON, "the session to be direct", || {
        // A parameter gets its slot when it is first set.
        for name in &names {
            session.set(name, 0.0).unwrap();
        }
        let status = session.status();
        if status.path == PlayPath::Direct { Ok(()) } else { Err(status) }
    });
    // Modulators move the upper half of the parameters.
    let by_the_beat = (32..64).fold(Set::default(), |set, place| {
        let modulator =
            ["lfo:sine:1bar", "lfo:saw:3s", "env:1beat", "lfo:sample-and-hold:0.1beats"];
        let name = ParameterName::new(&format!("p{place}")).unwrap();
        set.with_modulator(name, modulator[place % 4].parse().unwrap())
    });
    app.world()
        .resource::<MeshSession<role::Visualization>>()
        .change(&by_the_beat)
        .unwrap()
        .unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let ended_by_player = Arc::clone(&ended);
    let playing = thread::spawn(move || {
        let begun = Instant::now();
        let mut allocated_by_setting = 0;
        while !ended_by_player.load(Ordering::Acquire) {
            let before = ALLOCATIONS.get();
            for (place, name) in (0..32_u8).zip(&names) {
                let value = begun.elapsed().as_secs_f32().mul_add(3.0, f32::from(place)).sin();
                session.set(name, value).unwrap();
            }
            allocated_by_setting += ALLOCATIONS.get() - before;
            thread::sleep(Duration::from_millis(1));
        }
        allocated_by_setting
    });
    // After three seconds, all buffers have reached their final sizes.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        app.update();
        thread::sleep(Duration::from_millis(4));
    }
    let (mut allocated, mut moved, mut took) = (0, [0; 2], Duration::ZERO);
    let mut last = [0.0_f32; 2];
    for _ in 0..300 {
        let (before, begun) = (ALLOCATIONS.get(), Instant::now());
        app.update();
        took += begun.elapsed();
        allocated += ALLOCATIONS.get() - before;
        let Sky { p31, p60, .. } = *app.world().resource::<Sky>();
        for ((now, last), moved) in [p31, p60].into_iter().zip(&mut last).zip(&mut moved) {
            *moved += u32::from(last.to_bits() != now.to_bits());
            *last = now;
        }
        thread::sleep(Duration::from_millis(4));
    }
    ended.store(true, Ordering::Release);
    let by_setting = playing.join().unwrap();
    eprintln!(
        "measured: {allocated} allocations in 300 frames, {by_setting} by setting 32 values a thousand times a second; an empty Bevy frame with them took {} us in this build",
        took.as_micros() / 300
    );
    assert!(moved.iter().all(|moved| *moved > 250), "the values hardly moved: {moved:?}");
    assert_eq!(allocated, 0);
    assert_eq!(by_setting, 0);
}
