//! How many machines each lane gets.

/// The machines of each lane: one a task, or `most` over all lanes, in proportion to their tasks.
/// No lane gets none, so lanes beyond `most` get one each all the same; none gets more than it has
/// tasks.
pub(crate) fn machines(tasks: &[u64], most: Option<u32>) -> Vec<u32> {
    let all: u128 = tasks.iter().map(|n| u128::from(*n)).sum();
    let most = match most {
        Some(most) if u128::from(most) < all => u128::from(most),
        _ => return tasks.iter().map(|n| fitting(*n)).collect(),
    };
    // One each first, then the largest remainders of what is left.
    let lanes = tasks.len() as u128;
    let rest = most.saturating_sub(lanes);
    let open = all.saturating_sub(lanes);
    let share = |n: u64| u128::from(n).saturating_sub(1) * rest;
    let mut sizes: Vec<u128> = tasks
        .iter()
        .map(|n| 1 + share(*n).checked_div(open).unwrap_or(0))
        .collect();
    let mut by_remainder: Vec<usize> = (0..tasks.len()).collect();
    by_remainder.sort_by_key(|lane| {
        let remainder = share(tasks[*lane]).checked_rem(open).unwrap_or(0);
        (std::cmp::Reverse(remainder), *lane)
    });
    let given: u128 = sizes.iter().sum();
    let left = (lanes + rest).saturating_sub(given);
    for lane in by_remainder.into_iter().take(left as usize) {
        sizes[lane] += 1;
    }
    sizes
        .iter()
        .zip(tasks)
        .map(|(size, tasks)| fitting(u64::try_from(*size).unwrap_or(u64::MAX).min(*tasks)))
        .collect()
}

fn fitting(machines: u64) -> u32 {
    u32::try_from(machines).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::machines;

    #[test]
    fn machines_are_shared_out() {
        assert_eq!(machines(&[100], None), [100]);
        assert_eq!(machines(&[100], Some(7)), [7]);
        assert_eq!(machines(&[100], Some(1000)), [100]);
        assert_eq!(machines(&[90, 10], Some(10)), [8, 2]);
        assert_eq!(machines(&[1, 1, 1], Some(2)), [1, 1, 1]);
        assert_eq!(machines(&[50, 50], Some(3)), [2, 1]);
        assert_eq!(machines(&[1, 1_000_000], Some(100)), [1, 99]);
    }

    #[test]
    fn no_lane_is_empty_or_fuller_than_its_tasks() {
        for most in 1..40 {
            for tasks in [[1, 2, 30], [5, 5, 5], [1, 1, 100], [7, 1, 2]] {
                let got = machines(&tasks, Some(most));
                let all: u64 = tasks.iter().sum();
                let sum: u64 = got.iter().map(|n| u64::from(*n)).sum();
                assert_eq!(sum, u64::from(most).clamp(3, all), "{tasks:?} {most}");
                for (size, tasks) in got.iter().zip(tasks) {
                    assert!(*size >= 1 && u64::from(*size) <= tasks);
                }
            }
        }
    }
}
