//! The release `supabase-2025.12`: against the contract of its images, and on a real engine.

mod contract;
mod official;
