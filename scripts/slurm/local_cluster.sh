#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, to try and test what runs do under SLURM. Debian or Ubuntu, as root.
#   scripts/slurm/local_cluster.sh up        install SLURM if it is missing, start the cluster, wait until it takes jobs
#   eval "$(scripts/slurm/local_cluster.sh env)"   let this shell's sbatch, squeue and lmlab speak to it
#   scripts/slurm/local_cluster.sh status    partitions and jobs
#   scripts/slurm/local_cluster.sh down      cancel all jobs and end every process of the cluster
set -euo pipefail

STATE=${LMLAB_SLURM:-/tmp/lmlab-slurm}   # configuration, state, keys and logs; removed by "down"
CPUS=${LMLAB_SLURM_CPUS:-16}             # that SLURM believes in: more than there are, so that small jobs run side by side
CONTROLLER_PORT=${LMLAB_SLURM_PORT:-16817}
export SLURM_CONF=$STATE/slurm.conf

fail() {
  echo "local_cluster.sh: $1" >&2
  exit 1
}

install() {
  local program missing=
  for program in slurmctld slurmd sbatch munged; do command -v $program >/dev/null || missing=$program; done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || fail "SLURM is not installed and there is no apt-get to install it with"
  echo "Installing slurmctld, slurmd, slurm-client and munge ..."
  local packages=(slurmctld slurmd slurm-client munge)
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -qq --no-install-recommends "${packages[@]}" >"$STATE/install.log" 2>&1 \
    || { apt-get update -qq && apt-get install -qq --no-install-recommends "${packages[@]}"; } >"$STATE/install.log" 2>&1 \
    || fail "the installation failed, see $STATE/install.log"
}

configure() {
  local host
  host=$(hostname -s)
  (umask 077 && head -c 1024 /dev/urandom >"$STATE/munge.key")
  printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >"$STATE/cgroup.conf"
  cat >"$SLURM_CONF" <<END
ClusterName=lmlab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$CONTROLLER_PORT
SlurmdPort=$((CONTROLLER_PORT + 1))
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$STATE/munge.socket,cred_expire=5
StateSaveLocation=$STATE/controller
SlurmdSpoolDir=$STATE/node
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd.log
MailProg=/bin/true
# Without cgroups, which containers rarely may change.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
# What jobs live through, in seconds.
JobRequeue=1
KillWait=5
MinJobAge=120
InactiveLimit=0
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2,requeue_delay=1,batch_sched_delay=0
OverTimeLimit=0
# A job of "high" pushes those of the two low partitions out: at once, or 10 seconds after it has told them.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$host NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=100000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=low Nodes=$host PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 State=UP
PartitionName=low_grace Nodes=$host PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 State=UP
PartitionName=high Nodes=$host PriorityTier=20 PreemptMode=OFF State=UP
END
}

running() { # NAME: whether the daemon NAME of this cluster is alive
  local pid
  pid=$(cat "$STATE/$1.pid" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]
}

start() {
  running munged || munged --key-file="$STATE/munge.key" --socket="$STATE/munge.socket" \
    --pid-file="$STATE/munged.pid" --log-file="$STATE/munged.log" --seed-file="$STATE/munge.seed"
  running slurmctld || slurmctld
  running slurmd || slurmd
  for _ in $(seq 120); do
    [ "$(sinfo -h -p main -o %t 2>/dev/null)" = idle ] && return
    sleep 0.5
  done
  fail "no node came up within a minute, see $STATE/slurmctld.log and $STATE/slurmd.log"
}

up() {
  [ "$(id -u)" = 0 ] || fail "needs to be root, to install SLURM and to start jobs"
  if running munged && running slurmctld && running slurmd; then
    echo "The cluster of $STATE is up already."
  else
    mkdir -p "$STATE" "$STATE/controller" "$STATE/node"
    chmod 755 "$STATE"
    install
    [ -f "$SLURM_CONF" ] || configure
    start
    echo "The cluster is up; its state lies in $STATE."
  fi
  echo "For this shell: eval \"\$($0 env)\""
}

end() { # NAME: end the daemon NAME of this cluster
  running "$1" || return 0
  local pid
  pid=$(cat "$STATE/$1.pid")
  kill "$pid"
  for _ in $(seq 50); do
    [ -d "/proc/$pid" ] || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

steps() { # the processes that look after this cluster's jobs on the node
  local process
  for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = slurmstepd ] || continue
    if tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -qx "SLURM_CONF=$SLURM_CONF"; then
      basename "$process"
    fi
  done
}

down() {
  [ -d "$STATE" ] || { echo "There is no cluster in $STATE."; return; }
  [ -f "$SLURM_CONF" ] || fail "$STATE holds no cluster (it has no slurm.conf)"
  if running slurmctld; then
    squeue -h -o %A 2>/dev/null | sort -u | xargs -r scancel 2>/dev/null || true
    for _ in $(seq 60); do
      [ -z "$(squeue -h 2>/dev/null)" ] && break
      sleep 0.2
    done
  fi
  local name pid
  for name in slurmd slurmctld munged; do end "$name"; done
  for pid in $(steps); do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$STATE"
  echo "The cluster is down."
}

status() {
  running slurmctld && running slurmd || fail "no cluster runs in $STATE (start one: $0 up)"
  sinfo
  squeue
}

case "${1:-}" in
  up) up ;;
  env)
    [ -f "$SLURM_CONF" ] || fail "no cluster in $STATE (start one: $0 up)"
    printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
    ;;
  status) status ;;
  down) down ;;
  *) fail "expected up, env, status or down" ;;
esac
