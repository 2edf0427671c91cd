-- Replaced by its owner.
select 1;
