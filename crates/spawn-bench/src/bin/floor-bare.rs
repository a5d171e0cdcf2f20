//! The bare floor: starts a program again and again, so many at a time, and waits. Nothing else.

use spawn_bench::floor;

fn main() {
    floor::main("floor-bare", |order| {
        let program = order.program();
        order.run(|_| Ok(()), || program.start())
    })
}
