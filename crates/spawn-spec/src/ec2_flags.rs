//! The flags of `spawn launch` that only EC2 has a use for: network, image, disk, spot capacity.

use clap::Args;

use crate::flags::MACHINES;

/// What is asked of EC2 beside types and spot capacity, as typed.
#[derive(Args, Clone, Debug, Default)]
pub struct Ec2Args {
    /// How many machines are on demand before spot capacity is used
    ///
    /// That many machines are never taken away; those beyond them are spot. Where
    /// rows of a parameter file need several kinds of machine, it is that many of
    /// each kind.
    ///
    ///   --spot --on-demand-base 2
    #[arg(long, value_name = "N", help_heading = MACHINES, verbatim_doc_comment)]
    pub on_demand_base: Option<u32>,

    /// Time after which machines that spot does not give are on demand
    ///
    /// Counted from the launch, and shorter than --ttl. Without it, a launch
    /// waits for spot capacity until its TTL.
    ///
    ///   --spot --spot-fallback 15m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = MACHINES, verbatim_doc_comment)]
    pub spot_fallback: Option<String>,

    /// The network, `vpc-...` [default: that of the account]
    #[arg(long, value_name = "VPC", help_heading = MACHINES)]
    pub vpc: Option<String>,

    /// Subnets, `subnet-...` [default: every default one of the network]
    ///
    /// Several with commas between. More subnets in more zones have more spot
    /// capacity.
    ///
    ///   --subnet subnet-0a1b2c3d4e5f67890,subnet-0b1c2d3e4f5a67890
    #[arg(long, value_name = "LIST", help_heading = MACHINES, verbatim_doc_comment)]
    pub subnet: Vec<String>,

    /// Security groups, `sg-...` [default: one without inbound rules]
    ///
    /// Several with commas between. They have to let the machines reach AWS,
    /// with HTTPS.
    #[arg(long, value_name = "LIST", help_heading = MACHINES, verbatim_doc_comment)]
    pub security_groups: Vec<String>,

    /// Zones that may be used, such as `eu-west-1a` [default: all]
    ///
    /// Several with commas between, all of one region.
    ///
    ///   --az eu-west-1a,eu-west-1b
    #[arg(long, value_name = "LIST", help_heading = MACHINES, verbatim_doc_comment)]
    pub az: Vec<String>,

    /// The image, `ami-...` [default: the newest Amazon Linux 2023]
    #[arg(long, value_name = "AMI", help_heading = MACHINES)]
    pub ami: Option<String>,

    /// The root volume's size in GiB, such as `100` [default: the image's]
    #[arg(long, value_name = "GIB", help_heading = MACHINES)]
    pub volume_size: Option<String>,

    /// The root volume's type: gp3, gp2, io1, io2, standard [default: gp3]
    #[arg(long, value_name = "TYPE", help_heading = MACHINES)]
    pub volume_type: Option<String>,

    /// Operations per second of the root volume; for gp3, io1 and io2
    ///
    /// 3000 to 16000 for gp3, which has 3000 anyway. 100 to 64000 for io1 and
    /// io2, which need it.
    ///
    ///   --volume-size 200 --volume-type io2 --volume-iops 8000
    #[arg(long, value_name = "N", help_heading = MACHINES, verbatim_doc_comment)]
    pub volume_iops: Option<u32>,

    /// MiB per second of the root volume, 125 to 1000; for gp3
    ///
    /// At most a quarter of its operations per second: above 750 it needs
    /// --volume-iops.
    ///
    ///   --volume-iops 4000 --volume-throughput 1000
    #[arg(long, value_name = "MIB", help_heading = MACHINES, verbatim_doc_comment)]
    pub volume_throughput: Option<u32>,
}
