package pages

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/runtime"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Pressure by the names of stats.kubelet.k8s.io/v1alpha1.
type (
	ioStats struct {
		Time metav1.Time `json:"time"`
		PSI  *psiStats   `json:"psi,omitempty"`
	}
	psiStats struct {
		Full psiData `json:"full"`
		Some psiData `json:"some"`
	}
	psiData struct {
		Total  uint64  `json:"total"`
		Avg10  float64 `json:"avg10"`
		Avg60  float64 `json:"avg60"`
		Avg300 float64 `json:"avg300"`
	}
)

// ioOf tells nothing where the kernel does not tell of pressure.
func ioOf(u *nodev1.Usage, at metav1.Time) *ioStats {
	psi := psiOf(u.GetPressure().GetIo())
	if psi == nil {
		return nil
	}
	return &ioStats{Time: at, PSI: psi}
}

func psiOf(s *nodev1.Stalls) *psiStats {
	if s == nil {
		return nil
	}
	data := func(s *nodev1.Stall) psiData {
		return psiData{Total: s.GetNanoseconds(), Avg10: s.GetAvg10(), Avg60: s.GetAvg60(), Avg300: s.GetAvg300()}
	}
	return &psiStats{Full: data(s.GetFull()), Some: data(s.GetSome())}
}

// tellPressure tells for how long a cgroup's processes have waited.
func (t teller) tellPressure(s subject, p *runtime.Pressure) {
	if p == nil {
		return
	}
	for _, of := range []struct {
		name, what string
		stalls     runtime.Stalls
	}{{"cpu", "CPU", p.CPU}, {"memory", "memory", p.Memory}, {"io", "IO", p.IO}} {
		prefix := "container_pressure_" + of.name
		t.tell(s, prefix+"_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to "+of.what+" congestion.",
			counter, seconds(of.stalls.Full.Nanoseconds))
		t.tell(s, prefix+"_waiting_seconds_total", "Total time duration tasks in the container have waited due to "+of.what+" congestion.",
			counter, seconds(of.stalls.Some.Nanoseconds))
	}
}
