use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use crate::Lab;

/// A wall clock that a test sets, for the programs that are started with it.
///
/// It is a library that is loaded before the system's own library.
///
/// Only the wall clock differs: clocks of elapsed time continue, as they do when a real wall clock is set.
pub struct WallClock {
    library: PathBuf,
    file: PathBuf,
    ahead: File,
}

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long long *ahead;
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("LAB_WALL_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *at = mmap(0, 4096, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) ahead = at;
    close(file);
}
int clock_gettime(clockid_t id, struct timespec *to) {
    int result = syscall(SYS_clock_gettime, id, to);
    if (!result && ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) to->tv_sec += *ahead;
    return result;
}
int gettimeofday(struct timeval *to, void *zone) {
    int result = syscall(SYS_gettimeofday, to, zone);
    if (!result && ahead) to->tv_sec += *ahead;
    return result;
}
time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
"#;

impl WallClock {
    /// Creates a clock that is `seconds` ahead of the true one.
    #[must_use]
    pub fn ahead_by(lab: &Lab, name: &str, seconds: i64) -> Self {
        let file = |end: &str| lab.directory().join(format!("{name}.{end}"));
        let (source, library) = (file("c"), file("so"));
        std::fs::write(&source, LIBRARY).expect("a lab's directory can be written");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
        assert!(compile.status().expect("there is a cc").success(), "the library compiles");
        let file = file("ahead");
        let ahead = File::create(&file).expect("a lab's directory can be written");
        ahead.set_len(4096).expect("a lab's directory can be written");
        let clock = Self { library, file, ahead };
        clock.set(seconds);
        clock
    }

    /// Sets the clock to `seconds` ahead of the true one, for all programs that use it.
    pub fn set(&self, seconds: i64) {
        let written = self.ahead.write_all_at(&seconds.to_ne_bytes(), 0);
        written.expect("a lab's directory can be written");
    }

    /// Makes a program, and all programs that it launches, use this clock.
    pub fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("LAB_WALL_CLOCK", &self.file);
    }
}
