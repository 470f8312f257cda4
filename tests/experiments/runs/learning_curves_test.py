"""Curves and scores of runs whose episodes are recorded in bins."""

import os

import pandas as pd
from absl.testing import absltest

from experiments.runs import grouping, learning_curves, scoring
from tests.experiments.fake_runs import write_run


class BinsTest(absltest.TestCase):
  def test_binned_returns_stand_for_episodes(self):
    folder = self.create_tempdir().full_path
    write_run(folder, {'catch': 0.0}, num_tests=0)
    os.remove(f'{folder}/episodes.csv')
    pd.DataFrame(
      dict(
        env_frames=[100_000, 200_000, 300_000, 400_000],
        task='catch',
        num_episodes=[80, 80, 60, 60],
        mean_return=[-1.0, 0.0, 0.25, 0.75],
      )
    ).to_csv(f'{folder}/returns.csv', index=False)
    agents = grouping.read_agents([folder])
    curves = learning_curves.make_curves(agents)
    self.assertEqual(curves.window, 'mean of a bin of 100k frames')
    (curve,) = curves.tasks['catch'].values()
    self.assertEqual(list(curve.runs[0].values), [-1.0, 0.0, 0.25, 0.75])
    scores = scoring.read_scores(agents)
    (runs,) = scores.returns.values()
    # The last two bins have 100 episodes.
    self.assertEqual(list(runs[0]['catch']), [0.5])


if __name__ == '__main__':
  absltest.main()
