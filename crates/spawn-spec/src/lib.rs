//! What the user asked: flags merged and validated into one launch specification
