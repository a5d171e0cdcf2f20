//! The bare floor: starts a program again and again, so many at a time, and waits. Nothing else.

use std::io;

use spawn_bench::floor::{Order, Tally, conclude, wait_any};

fn main() {
    let order = match Order::from_args() {
        Ok(order) => order,
        Err(e) => {
            eprintln!("floor-bare: {e}");
            std::process::exit(2);
        }
    };
    std::process::exit(conclude("floor-bare", run(&order)));
}

fn run(order: &Order) -> io::Result<Tally> {
    let program = order.program();
    let mut tally = Tally::default();
    let mut started = 0;
    while tally.ended < order.tasks {
        while started < order.tasks && started - tally.ended < order.slots {
            program.start()?;
            started += 1;
        }
        let status = wait_any()?.ok_or(io::ErrorKind::NotFound)?;
        tally.ended += 1;
        tally.failed += u32::from(status != 0);
    }
    Ok(tally)
}
