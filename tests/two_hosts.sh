#!/bin/bash
# Two hosts on one machine, with a network between them, and a program started on both by a PMIx launcher.
#
#     tests/two_hosts.sh [--launcher L] [--devices N] [--seconds S] [--cut TEXT] [--until "N TEXT"] PROGRAM ARGUMENT...
#
#     --launcher L   mpirun (the default), prterun, or srun, with a Slurm cluster that is there for this one job: a node a host
#     --devices N    processes a host (2); ranks 0 to N-1 are on the first host
#     --seconds S    the time limit (60), after which everything ends with status 124
#     --cut TEXT     cuts the link "data", for good, when a line of output holds the text
#     --until "N T"  ends everything with status 0 once N lines of output have held the text T: mpirun of Open MPI 4.1 does not end by itself when
#                    it lets a job go on of which a process died
#
# All processes see the environment variables of the caller; those for the program alone go before it by `env`:
#
#     tests/two_hosts.sh --cut "cut now" env UMA_COHERENCE=page UMA_INTERFACE=data build/tests/programs/something
#
# Output (standard and error together) and status are the launcher's. Status 77: cannot be done here, and the last line says why.
#
#       login: mpirun or prterun, or srun and slurmctld
#            | 10.0.0.254
#        ----+-------------------+----  control: the traffic of the launcher and PMIx, so that both, and the output, survive the cut
#            | 10.0.0.1          | 10.0.0.2
#          host1 ============= host2
#            10.0.1.1     10.0.1.2      data: for the program (for one that uses MPI too). The cut takes down the first host's
#                                       interface: the first host gets errors, the second hears nothing more.
#
# A host is a set of namespaces: network, host name, processes, IPC, and mounts with a /dev/shm of its own. The hosts share the file system, as
# many clusters do. All of them end with the first process of the outermost, which is this script: the kernel then ends all other
# processes and removes the networks, so nothing is left however it ends, and runs side by side do not meet.
#
# Needs the right to make namespaces, as root or in a user namespace; ip (iproute2), unshare and nsenter (util-linux), mpirun (openmpi-bin).
# Slurm needs root, as slurmd drops groups; slurm-client, slurmctld, slurmd, slurm-wlm-basic-plugins. Services of the machine are neither needed nor touched.
# prterun (PRRTE) is no package of Debian 12.
set -o pipefail

enter() { # HOST COMMAND...
  local pid
  read -r pid <"/dev/shm/10.0.0.$1"
  shift
  nsenter --target "$pid" --net --uts --ipc --pid --mount -- "$@"
}

# What mpirun takes for ssh: ADDRESS COMMAND...
if [ "$1" = --ssh ]; then
  host=${2##*.}
  shift 2
  enter "$host" sh -c "$*"
  exit
fi

skip() { echo "two hosts cannot be made here: $*" >&2; exit 77; }

if [ "$1" != --inside ]; then
  for program in ip unshare nsenter; do command -v $program >/dev/null || skip "$program is not installed"; done
  spaces=(--net --ipc --mount --pid --fork --kill-child --mount-proc)
  [ "$(id -u)" = 0 ] || spaces+=(--user --map-root-user)
  refused=$(unshare "${spaces[@]}" true 2>&1) || skip "no right to make namespaces ($refused)"
  exec unshare "${spaces[@]}" "$0" --inside "$@"
fi
shift

launcher=mpirun devices=2 seconds=60 cut= until=
while [[ $1 == --* ]]; do
  [ $# -gt 1 ] || { echo "$0: $1 wants a value" >&2; exit 2; }
  case $1 in
  --launcher) launcher=$2 ;;
  --devices) devices=$2 ;;
  --seconds) seconds=$2 ;;
  --cut) cut=$2 ;;
  --until) until=$2 ;;
  *) echo "$0: $1: unknown; --launcher, --devices, --seconds, --cut and --until are known" >&2; exit 2 ;;
  esac
  shift 2
done
wanted=${until%% *}
for number in "$devices" "$seconds" "${wanted:-1}"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || { echo "$0: \"$number\" is not a number from 1" >&2; exit 2; }
done
[ $# -gt 0 ] || { echo "$0: which program?" >&2; exit 2; }
case $launcher in
mpirun | prterun) needed=("$launcher") ;;
srun) needed=(srun slurmctld slurmd) ;;
*) echo "$0: --launcher $launcher: unknown; mpirun, prterun and srun are known" >&2; exit 2 ;;
esac
for program in "${needed[@]}"; do command -v "$program" >/dev/null || skip "$program is not installed"; done
[ "$launcher" != srun ] || [ "$(cat /proc/self/setgroups)" = allow ] || skip "slurmd needs root"

# A host lives as long as its first process.
make_host() {
  local host=$1 pid name
  unshare --net --uts --ipc --mount --pid --fork --kill-child --mount-proc sleep infinity &
  for ((tries = 0; tries < 1000; tries++)); do
    read -r pid <<<"$(cat "/proc/$!/task/$!/children")"
    name=$(cat "/proc/$pid/comm" 2>/dev/null)
    [ "$name" = sleep ] && break
    sleep 0.01
  done
  [ "$name" = sleep ] || return 1
  echo "$pid" >"/dev/shm/10.0.0.$host"
  ip link add "to$host" type veth peer name control netns "$pid" && ip link set "to$host" master control up &&
    ip link set "data$host" netns "$pid" name data &&
    enter "$host" sh -c "hostname host$host && mount -t tmpfs none /dev/shm && ip link set lo up &&
      ip addr add 10.0.0.$host/24 dev control && ip link set control up && ip addr add 10.0.1.$host/24 dev data && ip link set data up"
}

make_network() {
  mount -t tmpfs none /dev/shm && ip link set lo up && ip link add control type bridge && ip addr add 10.0.0.254/24 dev control &&
    ip link set control up && ip link add data1 type veth peer name data2
}

by_mpirun() {
  timeout --kill-after=5 "$seconds" mpirun --allow-run-as-root --host "10.0.0.1:$devices,10.0.0.2:$devices" -n $((2 * devices)) --bind-to none \
    --mca plm_rsh_agent "$(realpath "$0") --ssh" --mca oob_tcp_if_include control --mca btl_tcp_if_include data "$@"
}

by_prterun() {
  timeout --kill-after=5 "$seconds" prterun --allow-run-as-root --host "10.0.0.1:$devices,10.0.0.2:$devices" -n $((2 * devices)) --bind-to none \
    --prtemca plm_ssh_agent "$(realpath "$0") --ssh" --prtemca prte_if_include control "$@"
}

# Nodes trust each other, so that munge and a key are not needed: nobody else is on their network.
slurm_conf() {
  cat <<END
ClusterName=two_hosts
SlurmctldHost=${HOSTNAME%%.*}(10.0.0.254)
NodeName=host1 NodeAddr=10.0.0.1 CPUs=$devices
NodeName=host2 NodeAddr=10.0.0.2 CPUs=$devices
PartitionName=hosts Nodes=host1,host2 Default=YES
SlurmdParameters=config_overrides
SelectType=select/linear
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
StateSaveLocation=$TMPDIR/controller
SlurmctldPidFile=$TMPDIR/controller.pid
SlurmctldLogFile=$TMPDIR/controller.log
SlurmdSpoolDir=$TMPDIR/node
SlurmdPidFile=$TMPDIR/node.pid
SlurmdLogFile=$TMPDIR/node.log
TmpFS=$TMPDIR
END
}

# Every host, and the controller's, has its own files in its own $TMPDIR.
start_slurm() {
  local host
  export SLURM_CONF=$TMPDIR/slurm.conf
  slurm_conf >"$SLURM_CONF"
  slurmctld || return 1
  for host in 1 2; do enter $host sh -c "cat >$SLURM_CONF && slurmd" <"$SLURM_CONF" || return 1; done
  for ((tries = 0; tries < 1000; tries++)); do
    [ "$(sinfo --noheader --states idle --format %D 2>/dev/null)" = 2 ] && return
    sleep 0.01
  done
  cat $TMPDIR/controller.log
  return 1
}

by_srun() {
  start_slurm && timeout --kill-after=5 "$seconds" srun --mpi=pmix --nodes 2 --ntasks $((2 * devices)) "$@"
}

trouble=$(make_network 2>&1) || skip "$trouble"
for host in 1 2; do make_host $host || skip "host $host does not come up"; done

export TMPDIR=/dev/shm
while IFS= read -r line || [ -n "$line" ]; do
  printf '%s\n' "$line"
  [[ -n $cut && $line == *"$cut"* ]] && enter 1 ip link set data down
  [[ -n $until && $line == *"${until#* }"* ]] && ((--wanted == 0)) && exit 0
done < <("by_$launcher" "$@" 2>&1 </dev/null)
wait $!
