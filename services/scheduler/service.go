package scheduler

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quantities"
	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/placement"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// service answers questions about decisions.
type service struct {
	schedulerv1.UnimplementedSchedulerServiceServer
	scheduler *Scheduler
}

// Explain says why a pod is where it is, or nowhere.
func (sv *service) Explain(ctx context.Context, req *schedulerv1.ExplainRequest) (*schedulerv1.ExplainResponse, error) {
	s := sv.scheduler
	if err := s.waitReady(ctx); err != nil {
		return nil, err
	}
	past, remembered := s.history.of(req.GetNamespace() + "/" + req.GetName())
	resp := &schedulerv1.ExplainResponse{Attempts: past.decisions}
	pod, ok := s.pods.Get(req.GetNamespace(), req.GetName())
	if !ok && !remembered {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), req.GetName())
	}
	if !ok {
		resp.Diagnosis = &schedulerv1.Diagnosis{NodeName: past.decisions[0].GetNodeName(), Message: past.decisions[0].GetMessage()}
		return resp, nil
	}
	if remembered && past.decisions[0].GetUid() != string(pod.UID) { // another pod of that name
		past, resp.Attempts = record{}, nil
	}
	d, err := s.explain(ctx, pod, past)
	if err != nil {
		return nil, err
	}
	resp.Diagnosis = d
	return resp, nil
}

// explain judges a pod that exists. What is placed shows the scores it was
// placed by, where they are remembered.
func (s *Scheduler) explain(ctx context.Context, pod *corev1.Pod, past record) (*schedulerv1.Diagnosis, error) {
	node := pod.Spec.NodeName
	if node == "" && len(past.decisions) > 0 {
		node = past.decisions[0].GetNodeName() // bound, but not seen so yet
	}
	judged := pod
	if pod.Spec.NodeName != "" {
		judged = pod.DeepCopy()
		judged.Spec.NodeName = ""
	}
	e, err := placement.Explain(ctx, s.profileOf(pod), s.cache, snapshot.NewPodInfo(judged))
	if err != nil {
		return nil, err
	}
	d := diagnosisOf(e)
	var failure string
	d.Queue, failure = s.queue.Where(pod.UID)
	switch {
	case node != "":
		d.NodeName = node
		d.Message = fmt.Sprintf("Pod %s/%s is on node %s", pod.Namespace, pod.Name, node)
		if len(past.decisions) > 0 && past.decisions[0].GetNodeName() == node {
			d.Message = past.decisions[0].GetMessage()
		}
		useScores(d, past.scores.Nodes())
	case s.profiles.Of(pod) == nil:
		d.Message = fmt.Sprintf("Pod %s/%s is left to scheduler %q", pod.Namespace, pod.Name, pod.Spec.SchedulerName)
	case failure != "":
		d.Message = failure
	}
	return d, nil
}

// profileOf returns the profile by which a pod is judged, another scheduler's
// pods too.
func (s *Scheduler) profileOf(pod *corev1.Pod) *framework.Profile {
	if p := s.profiles.Of(pod); p != nil {
		return p
	}
	return s.profiles.Default()
}

// Simulate says where a pod would go.
func (sv *service) Simulate(ctx context.Context, req *schedulerv1.SimulateRequest) (*schedulerv1.SimulateResponse, error) {
	pod := &corev1.Pod{}
	err := quantities.CheckProtobuf(req.GetPod().GetObject().GetValue(), pod)
	if err == nil {
		err = kinds.Decode(req.GetPod().GetObject(), pod)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod: %v", err))
	}
	if err := sv.scheduler.waitReady(ctx); err != nil {
		return nil, err
	}
	e, err := placement.Explain(ctx, sv.scheduler.profileOf(pod), sv.scheduler.cache, snapshot.NewPodInfo(pod))
	if err != nil {
		return nil, err
	}
	return &schedulerv1.SimulateResponse{Diagnosis: diagnosisOf(e)}, nil
}

// WatchDecisions streams decisions from now on.
func (sv *service) WatchDecisions(req *schedulerv1.WatchDecisionsRequest, stream schedulerv1.SchedulerService_WatchDecisionsServer) error {
	decisions, stop := sv.scheduler.history.watch()
	defer stop()
	for {
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case d, ok := <-decisions:
			if !ok {
				return status.Error(codes.ResourceExhausted, "this watcher was too slow and has been cut off")
			}
			if req.GetNamespace() != "" && req.GetNamespace() != d.GetNamespace() {
				continue
			}
			if err := stream.Send(&schedulerv1.WatchDecisionsResponse{Decision: d}); err != nil {
				return fmt.Errorf("send decision: %w", err)
			}
		}
	}
}

// waitReady holds answers back until the cluster is known.
func (s *Scheduler) waitReady(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func diagnosisOf(e *placement.Explanation) *schedulerv1.Diagnosis {
	d := &schedulerv1.Diagnosis{NodeName: e.Best}
	for _, n := range e.Nodes {
		v := &schedulerv1.NodeVerdict{NodeName: n.Node, Feasible: len(n.Rejections) == 0}
		for _, r := range n.Rejections {
			v.Rejections = append(v.Rejections, pluginVerdict(r))
		}
		setScore(v, n.Score)
		d.Nodes = append(d.Nodes, v)
	}
	d.Message = e.Diagnosis.Message()
	if e.Best != "" {
		d.Message = fmt.Sprintf("%d/%d nodes are available; %s is the best", len(e.Nodes)-len(e.Diagnosis.Rejections), len(e.Nodes), e.Best)
	}
	return d
}

func pluginVerdict(r placement.Rejection) *schedulerv1.PluginVerdict {
	v := &schedulerv1.PluginVerdict{Plugin: r.Status.Plugin(), Reason: r.Status.Message(), Detail: r.Advice.Detail}
	for _, remedy := range r.Advice.Remedies {
		v.Remedies = append(v.Remedies, &schedulerv1.Remedy{
			Kind: remedyKind(remedy.Kind), Description: remedy.Description, Pods: remedy.Pods,
		})
	}
	return v
}

func remedyKind(k framework.RemedyKind) schedulerv1.RemedyKind {
	switch k {
	case framework.EvictPods:
		return schedulerv1.RemedyKind_REMEDY_KIND_EVICT_PODS
	case framework.AwaitPods:
		return schedulerv1.RemedyKind_REMEDY_KIND_AWAIT_PODS
	case framework.ChangePod:
		return schedulerv1.RemedyKind_REMEDY_KIND_CHANGE_POD
	case framework.ChangeNode:
		return schedulerv1.RemedyKind_REMEDY_KIND_CHANGE_NODE
	case framework.AddPod:
		return schedulerv1.RemedyKind_REMEDY_KIND_ADD_POD
	case framework.ChangeClaim:
		return schedulerv1.RemedyKind_REMEDY_KIND_CHANGE_CLAIM
	}
	return schedulerv1.RemedyKind_REMEDY_KIND_UNSPECIFIED
}

// useScores replaces the present scores by those of a decision.
func useScores(d *schedulerv1.Diagnosis, scores []placement.NodeScore) {
	for _, score := range scores {
		for _, n := range d.Nodes {
			if n.GetNodeName() == score.Node {
				setScore(n, score)
			}
		}
	}
}

func setScore(v *schedulerv1.NodeVerdict, score placement.NodeScore) {
	v.TotalScore, v.Scores = score.Total, nil
	for _, s := range score.Scores {
		v.Scores = append(v.Scores, &schedulerv1.PluginScore{Plugin: s.Plugin, Score: s.Score, Weight: s.Weight})
	}
}
