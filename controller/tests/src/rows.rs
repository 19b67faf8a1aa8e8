//! What the tests look up or change in the control database.
