//! The pure core: task table, leases, budgets, supervision; decides from (event, now)
