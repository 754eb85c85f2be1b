// Package storageversionmigration rewrites stored objects, so that those of one
// resource are all in its present storage version (KEP-4192).
package storageversionmigration

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// appearTime is how long a migration waits for its resource to be served, and
	// lookAgain how often it looks for it.
	appearTime = time.Minute
	lookAgain  = 5 * time.Second
)

type reconciler struct {
	client     *client.Client
	migrations *client.Informer[*migrationv1.StorageVersionMigration]
	kinds      *kinds.Registry
}

// New returns the controller. Its keys name StorageVersionMigrations.
func New(deps runner.Deps) (*runner.Controller, error) {
	migrations, err := client.InformerFor[*migrationv1.StorageVersionMigration](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, migrations: migrations, kinds: deps.Kinds}
	c := runner.New("storageversionmigration", r, deps, runner.Options{Trace: migrations.TraceContext})
	runner.Primary(c, migrations)
	return c, nil
}

// Reconcile takes one migration from start to end. One that was interrupted begins
// anew; what it has written already it passes over.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	m, ok := r.migrations.GetByKey(key)
	if !ok || m.DeletionTimestamp != nil || over(m) {
		return runner.Done(), nil
	}
	m = m.DeepCopy()
	kind := r.kind(m)
	switch {
	case kind == nil && time.Since(m.CreationTimestamp.Time) < appearTime:
		return runner.RequeueAfter(lookAgain), nil
	case kind == nil:
		return runner.Done(), r.end(ctx, m, migrationv1.MigrationFailed, fmt.Sprintf("no resource %s is served", m.Spec.Resource.String()))
	}
	if m.Status.ResourceVersion == "" {
		// Revisions are those of the whole cluster: what is written after the
		// migration was created is in the version of then.
		m.Status.ResourceVersion = m.ResourceVersion
		if err := r.condition(ctx, m, migrationv1.MigrationRunning, "StorageVersionMigrationInProgress", ""); err != nil {
			return runner.Done(), err
		}
	}
	written, err := r.rewrite(ctx, kind, m.Status.ResourceVersion)
	switch {
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err):
		return runner.Done(), r.end(ctx, m, migrationv1.MigrationFailed, err.Error())
	case err != nil:
		return runner.Done(), err
	}
	return runner.Done(), r.end(ctx, m, migrationv1.MigrationSucceeded, fmt.Sprintf("%d objects were written anew", written))
}

func over(m *migrationv1.StorageVersionMigration) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationSucceeded)) ||
		meta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationFailed))
}

// kind returns the kind of the migration's resource, in the preferred version; nil
// if there is none.
func (r *reconciler) kind(m *migrationv1.StorageVersionMigration) *kinds.Kind {
	for _, k := range r.kinds.All() {
		if k.Group == m.Spec.Resource.Group && k.Resource == m.Spec.Resource.Resource && k.Stored() {
			return k
		}
	}
	return nil
}

// rewrite writes the objects of a kind that have not been written since a
// resourceVersion, as they are: the Store keeps those as they are that are in the
// present version. It returns how many it went over.
func (r *reconciler) rewrite(ctx context.Context, kind *kinds.Kind, until string) (int, error) {
	objs, err := r.client.ListMetadata(ctx, kind, "")
	if err != nil {
		return 0, fmt.Errorf("list the %s: %w", kind.GroupResource(), err)
	}
	written := 0
	for _, obj := range objs {
		newer, err := resourceversion.CompareResourceVersion(obj.ResourceVersion, until)
		if err != nil {
			return written, fmt.Errorf("compare the version of %s %s/%s: %w", kind.Resource, obj.Namespace, obj.Name, err)
		}
		if newer > 0 {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": obj.UID, "resourceVersion": obj.ResourceVersion}})
		if err != nil {
			return written, fmt.Errorf("encode the patch of %s %s/%s: %w", kind.Resource, obj.Namespace, obj.Name, err)
		}
		err = r.client.PatchNamed(ctx, kind, obj.Namespace, obj.Name, patch)
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			continue // gone, or written by somebody else
		case err != nil:
			return written, fmt.Errorf("write %s %s/%s: %w", kind.Resource, obj.Namespace, obj.Name, err)
		}
		written++
	}
	return written, nil
}

// end notes how a migration ended.
func (r *reconciler) end(ctx context.Context, m *migrationv1.StorageVersionMigration, how migrationv1.MigrationConditionType, message string) error {
	if running := meta.FindStatusCondition(m.Status.Conditions, string(migrationv1.MigrationRunning)); running != nil {
		meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
			Type: string(migrationv1.MigrationRunning), Status: metav1.ConditionFalse, Reason: "StorageVersionMigration" + string(how),
		})
	}
	return r.condition(ctx, m, how, "StorageVersionMigration"+string(how), message)
}

func (r *reconciler) condition(ctx context.Context, m *migrationv1.StorageVersionMigration, t migrationv1.MigrationConditionType, reason, message string) error {
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{Type: string(t), Status: metav1.ConditionTrue, Reason: reason, Message: message})
	if err := r.client.UpdateStatus(ctx, m); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("tell how the migration %s goes: %w", m.Name, err)
	}
	return nil
}
