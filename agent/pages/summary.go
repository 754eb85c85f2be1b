package pages

import (
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// The types of stats.kubelet.k8s.io/v1alpha1, as far as the agent knows what
// they tell. Amounts are in bytes, nanoseconds and billionths of a CPU.
type (
	summary struct {
		Node nodeStats  `json:"node"`
		Pods []podStats `json:"pods"`
	}
	nodeStats struct {
		NodeName  string        `json:"nodeName"`
		StartTime metav1.Time   `json:"startTime"`
		CPU       *cpuStats     `json:"cpu,omitempty"`
		Memory    *memoryStats  `json:"memory,omitempty"`
		IO        *ioStats      `json:"io,omitempty"`
		Network   *networkStats `json:"network,omitempty"`
		FS        *fsStats      `json:"fs,omitempty"`
		Runtime   *runtimeStats `json:"runtime,omitempty"`
		Rlimit    *rlimitStats  `json:"rlimit,omitempty"`
	}
	runtimeStats struct {
		ImageFS *fsStats `json:"imageFs,omitempty"`
	}
	podStats struct {
		PodRef       podReference     `json:"podRef"`
		StartTime    *metav1.Time     `json:"startTime,omitempty"`
		Containers   []containerStats `json:"containers"`
		CPU          *cpuStats        `json:"cpu,omitempty"`
		Memory       *memoryStats     `json:"memory,omitempty"`
		IO           *ioStats         `json:"io,omitempty"`
		Network      *networkStats    `json:"network,omitempty"`
		ProcessStats *processStats    `json:"process_stats,omitempty"`
	}
	podReference struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`
	}
	containerStats struct {
		Name      string       `json:"name"`
		StartTime *metav1.Time `json:"startTime,omitempty"`
		CPU       *cpuStats    `json:"cpu,omitempty"`
		Memory    *memoryStats `json:"memory,omitempty"`
		IO        *ioStats     `json:"io,omitempty"`
	}
	cpuStats struct {
		Time                 metav1.Time `json:"time"`
		UsageNanoCores       uint64      `json:"usageNanoCores"`
		UsageCoreNanoSeconds uint64      `json:"usageCoreNanoSeconds"`
		PSI                  *psiStats   `json:"psi,omitempty"`
	}
	memoryStats struct {
		Time            metav1.Time `json:"time"`
		AvailableBytes  *uint64     `json:"availableBytes,omitempty"`
		UsageBytes      uint64      `json:"usageBytes,omitempty"`
		WorkingSetBytes uint64      `json:"workingSetBytes"`
		RSSBytes        uint64      `json:"rssBytes,omitempty"`
		PSI             *psiStats   `json:"psi,omitempty"`
	}
	fsStats struct {
		Time           metav1.Time `json:"time"`
		AvailableBytes uint64      `json:"availableBytes"`
		CapacityBytes  uint64      `json:"capacityBytes"`
		UsedBytes      uint64      `json:"usedBytes"`
		InodesFree     uint64      `json:"inodesFree"`
		Inodes         uint64      `json:"inodes"`
		InodesUsed     uint64      `json:"inodesUsed"`
	}
	rlimitStats struct {
		Time    metav1.Time `json:"time"`
		CurProc uint64      `json:"curproc"`
	}
	processStats struct {
		ProcessCount uint64 `json:"process_count"`
	}
)

// summarize tells what is used, of the pods in the order in which it was read.
func summarize(usage *nodev1.StatsResponse, pods podsByUID, started time.Time, fs *fsStats) summary {
	at := metav1.NewTime(usage.GetTime().AsTime())
	out := summary{
		Node: nodeStats{
			NodeName: usage.GetNodeName(), StartTime: metav1.NewTime(started),
			CPU: cpuOf(usage.GetUsage(), at), Memory: memoryOf(usage.GetUsage(), at, 0), IO: ioOf(usage.GetUsage(), at),
			FS: fs, Rlimit: &rlimitStats{Time: at, CurProc: usage.GetUsage().GetPids()},
		},
		Pods: make([]podStats, 0, len(usage.GetPods())),
	}
	if fs != nil {
		out.Node.Runtime = &runtimeStats{ImageFS: fs}
	}
	for _, p := range usage.GetPods() {
		pod := podStats{
			PodRef: podReference{Name: p.GetName(), Namespace: p.GetNamespace(), UID: p.GetUid()},
			CPU:    cpuOf(p.GetUsage(), at), Memory: memoryOf(p.GetUsage(), at, 0), IO: ioOf(p.GetUsage(), at),
			ProcessStats: &processStats{p.GetUsage().GetPids()},
			Containers:   make([]containerStats, 0, len(p.GetContainers())),
		}
		if known := pods[p.GetUid()]; known != nil {
			pod.StartTime = known.Status.StartTime
			pod.PodRef.UID = string(known.UID)
		}
		for _, c := range p.GetContainers() {
			pod.Containers = append(pod.Containers, containerStats{
				Name: c.GetName(), StartTime: pods.started(p.GetUid(), c.GetName()),
				CPU: cpuOf(c.GetUsage(), at), Memory: memoryOf(c.GetUsage(), at, pods.memoryLimit(p.GetUid(), c.GetName())),
				IO: ioOf(c.GetUsage(), at),
			})
		}
		out.Pods = append(out.Pods, pod)
	}
	return out
}

// reduce leaves CPU and memory alone.
func (s *summary) reduce() {
	s.Node.FS, s.Node.Runtime, s.Node.Rlimit = nil, nil, nil
	for i := range s.Pods {
		s.Pods[i].ProcessStats = nil
	}
}

func cpuOf(u *nodev1.Usage, at metav1.Time) *cpuStats {
	return &cpuStats{Time: at, UsageNanoCores: u.GetCpuNanocores(), UsageCoreNanoSeconds: u.GetCpuNanoseconds(), PSI: psiOf(u.GetPressure().GetCpu())}
}

// memoryOf tells what is left only where there is a limit.
func memoryOf(u *nodev1.Usage, at metav1.Time, limit uint64) *memoryStats {
	m := &memoryStats{
		Time: at, UsageBytes: u.GetMemoryUsageBytes(), WorkingSetBytes: u.GetMemoryWorkingSetBytes(), RSSBytes: u.GetMemoryRssBytes(),
		PSI: psiOf(u.GetPressure().GetMemory()),
	}
	if limit > 0 {
		left := limit - min(limit, m.WorkingSetBytes)
		m.AvailableBytes = &left
	}
	return m
}

// memoryLimit returns a container's limit, 0 if it has none.
func (p podsByUID) memoryLimit(uid, container string) uint64 {
	pod := p[uid]
	if pod == nil {
		return 0
	}
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == container {
			return uint64(max(c.Resources.Limits.Memory().Value(), 0))
		}
	}
	return 0
}

// readFilesystem looks at the filesystem of a folder; nil if it cannot.
func readFilesystem(dir string) *fsStats {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return nil
	}
	block := uint64(s.Bsize)
	return &fsStats{
		Time: metav1.Now(), AvailableBytes: s.Bavail * block, CapacityBytes: s.Blocks * block, UsedBytes: (s.Blocks - s.Bfree) * block,
		InodesFree: s.Ffree, Inodes: s.Files, InodesUsed: s.Files - s.Ffree,
	}
}
